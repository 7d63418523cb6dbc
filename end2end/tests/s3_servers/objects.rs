//! Whole objects: put, read, listed, copied, removed; keys, buckets, and what is done behind the client's back.

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use iglu_end2end::s3::S3Server;
use object_store::aws::{AmazonS3ConfigKey, S3CopyIfNotExists};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutMode, UpdateVersion};

use crate::{Kind, PART, impatient, part, status};

pub async fn objects_and_ranges(server: &mut S3Server, kind: Kind) {
    let store = impatient(server, &server.endpoint());
    let key = Path::parse("nar/a b+c%.nar").unwrap();
    let put = store.put(&key, "0123456789".into()).await.unwrap();
    assert_eq!(put.e_tag.as_deref(), Some("\"781e5e245d69b566979b86e28d23f2c7\""));
    let meta = store.head(&key).await.unwrap();
    assert_eq!((meta.size, &meta.e_tag), (10, &put.e_tag));
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), "0123456789");

    assert_eq!(store.get_range(&key, 2..5).await.unwrap(), "234");
    assert_eq!(store.get_range(&key, 8..50).await.unwrap(), "89");
    for (range, text) in [(GetRange::Offset(4), "456789"), (GetRange::Suffix(3), "789")] {
        let found = store.get_opts(&key, GetOptions::new().with_range(Some(range))).await.unwrap();
        // The size is the whole object's.
        assert_eq!(found.meta.size, 10);
        assert_eq!(found.bytes().await.unwrap(), text);
    }
    assert_eq!(status(&store.get_range(&key, 10..12).await), Some(416));

    let empty = Path::from("empty");
    store.put(&empty, Bytes::new().into()).await.unwrap();
    assert_eq!(store.get(&empty).await.unwrap().bytes().await.unwrap(), "");
    assert_eq!(status(&store.get_range(&empty, 0..1).await), Some(416));

    let none = Path::from("none");
    assert!(matches!(store.head(&none).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.get(&none).await, Err(Error::NotFound { .. })));
    store.delete(&key).await.unwrap();
    assert!(matches!(store.head(&key).await, Err(Error::NotFound { .. })));
    store.delete(&none).await.unwrap();

    // s3s: keys are files, and a folder of them is an error.
    store.put(&Path::from("log/one"), "x".into()).await.unwrap();
    let folder = store.head(&Path::from("log")).await;
    let below = store.put(&Path::from("log/one/two"), "x".into()).await;
    match kind {
        Kind::S3s => assert_eq!((status(&folder), status(&below)), (Some(500), Some(500))),
        Kind::Moto => assert!(matches!(folder, Err(Error::NotFound { .. })) && below.is_ok()),
    }
}

pub async fn listings_and_bulk_deletion(server: &mut S3Server, kind: Kind) {
    let store = server.store();
    for i in 0..1001 {
        store.put(&Path::from(format!("many/{i:04}")), "x".into()).await.unwrap();
    }
    store.put(&Path::from("many2"), "other".into()).await.unwrap();
    let many = Path::from("many");
    // More than one page; only what is below the prefix as a folder.
    let listed: Vec<_> = store.list(Some(&many)).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1001);
    assert!(listed.is_sorted_by_key(|meta| meta.location.clone()) && listed.iter().all(|meta| meta.size == 1));
    // s3s lists no ETags.
    assert!(listed.iter().all(|meta| meta.e_tag.is_some() == (kind == Kind::Moto)));
    let after: Vec<_> = store.list_with_offset(Some(&many), &Path::from("many/0998")).try_collect().await.unwrap();
    assert_eq!(after.len(), 2);
    let top = store.list_with_delimiter(None).await.unwrap();
    assert_eq!((top.common_prefixes, top.objects.len()), (vec![many], 1));

    // Two requests of at most 1000 keys; one of the keys is not there.
    let all = (0..1002).map(|i| Ok(Path::from(format!("many/{i:04}"))));
    let deleted: Vec<_> = store.delete_stream(stream::iter(all).boxed()).try_collect().await.unwrap();
    assert_eq!(deleted.len(), 1002);
    assert_eq!(server.keys().await.unwrap(), ["many2"]);
}

pub async fn copies(server: &mut S3Server, _: Kind) {
    let (from, to, third) = (Path::from("from"), Path::from("to"), Path::from("third"));
    let store = server.store();
    store.put(&from, "text".into()).await.unwrap();
    store.copy(&from, &to).await.unwrap();
    assert_eq!(server.read("to").await.unwrap(), "text");
    assert_eq!(store.head(&to).await.unwrap().e_tag, store.head(&from).await.unwrap().e_tag);
    assert!(matches!(store.copy(&third, &to).await, Err(Error::NotFound { .. })));

    // S3 has no condition for copies; completing an upload has.
    assert!(matches!(store.copy_if_not_exists(&from, &third).await, Err(Error::NotSupported { .. })));
    let by_parts = server.builder().with_copy_if_not_exists(S3CopyIfNotExists::Multipart).build().unwrap();
    by_parts.copy_if_not_exists(&from, &third).await.unwrap();
    assert!(matches!(by_parts.copy_if_not_exists(&from, &third).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(server.uploads().await.unwrap(), 0);
}

pub async fn conditional_puts(server: &mut S3Server, _: Kind) {
    let store = server.store();
    let key = Path::from("lock");
    let put = |text: &'static str, mode: PutMode| store.put_opts(&key, text.into(), mode.into());
    let first = put("1", PutMode::Create).await.unwrap();
    assert!(matches!(put("2", PutMode::Create).await, Err(Error::AlreadyExists { .. })));
    put("3", PutMode::Update(UpdateVersion::from(first.clone()))).await.unwrap();
    let late = put("4", PutMode::Update(UpdateVersion::from(first))).await;
    assert!(matches!(late, Err(Error::Precondition { .. })));
    assert_eq!(server.read("lock").await.unwrap(), "3");
}

pub async fn checksums(server: &mut S3Server, _: Kind) {
    for algorithm in ["sha256", "crc64nvme"] {
        let store = server.builder().with_config(AmazonS3ConfigKey::Checksum, algorithm).build().unwrap();
        store.put(&Path::from("one"), "text".into()).await.unwrap();
        let mut upload = store.put_multipart(&Path::from("parts")).await.unwrap();
        upload.put_part(part().into()).await.unwrap();
        upload.put_part("end".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(server.read("one").await.unwrap(), "text");
        assert_eq!(server.read("parts").await.unwrap().len(), PART + 3);
    }
    let unsigned = server.builder().with_unsigned_payload(true).build().unwrap();
    unsigned.put(&Path::from("unsigned"), "text".into()).await.unwrap();
    assert_eq!(server.read("unsigned").await.unwrap(), "text");
}

pub async fn credentials_and_buckets(server: &mut S3Server, kind: Kind) {
    let key = Path::from("key");
    server.put("key", "text").await.unwrap();
    let wrong = [server.builder().with_secret_access_key("wrong"), server.builder().with_access_key_id("NOBODY")];
    for wrong in wrong {
        let wrong = wrong.build().unwrap();
        let (get, put) = (wrong.get(&key).await, wrong.put(&key, "other".into()).await);
        let list = wrong.list(None).try_collect::<Vec<_>>().await;
        match kind {
            Kind::S3s => {
                assert!(matches!(get, Err(Error::PermissionDenied { .. })));
                assert!(matches!(put, Err(Error::PermissionDenied { .. })));
                // A refused listing has no error of its own.
                assert!(matches!(list, Err(Error::Generic { .. })) && status(&list) == Some(403));
            }
            Kind::Moto => assert!(get.is_ok() && put.is_ok() && list.is_ok()),
        }
    }
    // Neither minds the region.
    assert!(server.builder().with_region("eu-west-1").build().unwrap().get(&key).await.is_ok());

    let other = server.builder().with_bucket_name("other-bucket").build().unwrap();
    let list = other.list(None).try_collect::<Vec<_>>().await;
    assert!(matches!(list, Err(Error::Generic { .. })) && status(&list) == Some(404));
    assert!(matches!(other.get(&key).await, Err(Error::NotFound { .. })));
    let put = other.put(&key, "text".into()).await;
    match kind {
        Kind::S3s => assert!(put.is_ok()),
        Kind::Moto => assert!(matches!(put, Err(Error::NotFound { .. }))),
    }
}

pub async fn looking_and_breaking_from_behind(server: &mut S3Server, kind: Kind) {
    let e_tag = async |server: &S3Server| server.store().head(&Path::from("b/c")).await.unwrap().e_tag;
    server.put("b/c", "abcdef").await.unwrap();
    server.put("a", "text").await.unwrap();
    assert_eq!(server.keys().await.unwrap(), ["a", "b/c"]);
    let before = e_tag(server).await;
    server.flip_bit("b/c", 2).await.unwrap();
    assert_eq!(server.read("b/c").await.unwrap(), "abbdef");
    assert_eq!(e_tag(server).await == before, kind == Kind::S3s);
    assert!(server.flip_bit("b/c", 6).await.is_err());
    server.truncate("b/c", 3).await.unwrap();
    assert_eq!(server.read("b/c").await.unwrap(), "abb");
    server.remove("a").await.unwrap();
    assert!(server.remove("a").await.is_err());
    assert!(server.read("a").await.is_err());

    server.stop().await.unwrap();
    let store = impatient(server, &server.endpoint());
    assert!(store.head(&Path::from("b/c")).await.is_err());
    server.restart().await.unwrap();
    let kept = if kind == Kind::S3s { vec!["b/c"] } else { vec![] };
    assert_eq!(server.keys().await.unwrap(), kept);
    server.put("d", "text").await.unwrap();
    server.empty().await.unwrap();
    assert_eq!(server.keys().await.unwrap(), [""; 0]);
}
