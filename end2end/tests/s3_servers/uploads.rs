//! Uploads in parts, and uploads and downloads by URLs that carry their signature.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use iglu_end2end::digest::md5_base64;
use iglu_end2end::s3::S3Server;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer as _};
use object_store::{Error, MultipartUpload as _, ObjectStoreExt as _};

use crate::{Kind, PART, call, impatient, part, status};

pub async fn uploads_in_parts(server: &mut S3Server, _: Kind) {
    let store = impatient(server, &server.endpoint());
    let key = Path::from("nar/big");
    let mut upload = store.put_multipart(&key).await.unwrap();
    for _ in 0..3 {
        upload.put_part(part().into()).await.unwrap();
    }
    assert_eq!(server.uploads().await.unwrap(), 1);
    assert!(matches!(store.head(&key).await, Err(Error::NotFound { .. })));
    assert_eq!(server.keys().await.unwrap(), [""; 0]);
    let done = upload.complete().await.unwrap();
    assert!(done.e_tag.unwrap().ends_with("-3\""));
    assert_eq!(server.read("nar/big").await.unwrap(), [part(), part(), part()].concat());
    assert_eq!(server.uploads().await.unwrap(), 0);

    let mut upload = store.put_multipart(&key).await.unwrap();
    upload.put_part("other".into()).await.unwrap();
    assert_eq!(server.uploads().await.unwrap(), 1);
    upload.abort().await.unwrap();
    assert_eq!(server.uploads().await.unwrap(), 0);
    assert_eq!(store.head(&key).await.unwrap().size, 3 * PART as u64);

    // Parts may come in any order, and again: the last of a number counts.
    let id = store.create_multipart(&key).await.unwrap();
    let second = store.put_part(&key, &id, 1, "end".into()).await.unwrap();
    store.put_part(&key, &id, 0, "mistake".into()).await.unwrap();
    let first = store.put_part(&key, &id, 0, part().into()).await.unwrap();
    store.complete_multipart(&key, &id, vec![first, second]).await.unwrap();
    assert_eq!(server.read("nar/big").await.unwrap(), [part(), "end".into()].concat());
}

pub async fn uploads_that_go_wrong(server: &mut S3Server, kind: Kind) {
    let store = impatient(server, &server.endpoint());
    let key = Path::from("nar/big");

    // Completed twice, as after a lost answer; and used when it is over.
    let id = store.create_multipart(&key).await.unwrap();
    let parts = vec![store.put_part(&key, &id, 0, "whole".into()).await.unwrap()];
    store.complete_multipart(&key, &id, parts.clone()).await.unwrap();
    let again = store.complete_multipart(&key, &id, parts).await;
    let late = store.put_part(&key, &id, 0, "late".into()).await;
    let abort = store.abort_multipart(&key, &id).await;
    match kind {
        // S3: as moto, and 404 NoSuchUpload for the late part.
        Kind::S3s => {
            assert_eq!((status(&again), status(&late), status(&abort)), (Some(403), Some(403), Some(403)));
        }
        Kind::Moto => {
            assert!(again.is_ok());
            assert_eq!((status(&late), status(&abort)), (Some(500), Some(404)));
        }
    }
    assert_eq!(server.read("nar/big").await.unwrap(), "whole");

    // Too small a part before the last.
    let id = store.create_multipart(&key).await.unwrap();
    let mut parts = Vec::new();
    for number in 0..2 {
        parts.push(store.put_part(&key, &id, number, "small".into()).await.unwrap());
    }
    assert_eq!(status(&store.complete_multipart(&key, &id, parts).await), Some(400));
    // s3s has forgotten the upload; in S3 it goes on.
    assert_eq!(server.uploads().await.unwrap(), usize::from(kind == Kind::Moto));
    let _ = store.abort_multipart(&key, &id).await;

    // An ETag that is not the part's.
    let id = store.create_multipart(&key).await.unwrap();
    store.put_part(&key, &id, 0, "other".into()).await.unwrap();
    let wrong = vec![PartId { content_id: "\"d41d8cd98f00b204e9800998ecf8427e\"".to_owned() }];
    let done = store.complete_multipart(&key, &id, wrong).await;
    match kind {
        Kind::S3s => assert!(done.is_ok()),
        Kind::Moto => assert_eq!(status(&done), Some(400)),
    }

    // object_store puts an empty part where there is none, since S3 takes no list without parts.
    let id = store.create_multipart(&key).await.unwrap();
    store.complete_multipart(&key, &id, Vec::new()).await.unwrap();
    assert_eq!(server.read("nar/big").await.unwrap(), "");
}

pub async fn presigned_urls(server: &mut S3Server, kind: Kind) {
    let store = server.store();
    let (key, hour) = (Path::parse("nar/a b+c%.nar").unwrap(), Duration::from_secs(3600));
    let put = store.signed_url(Method::PUT, &key, hour).await.unwrap();
    assert_eq!(call(Method::PUT, put.as_str(), &[], "0123456789").await.status, 200);
    // Headers that are not signed may be added.
    assert_eq!(call(Method::PUT, put.as_str(), &[("content-type", "text/plain")], "0123456789").await.status, 200);

    let get = store.signed_url(Method::GET, &key, hour).await.unwrap();
    assert_eq!(call(Method::GET, get.as_str(), &[], "").await.text(), "0123456789");
    let some = call(Method::GET, get.as_str(), &[("range", "bytes=2-4")], "").await;
    assert_eq!((some.status.as_u16(), some.text()), (206, "234".to_owned()));
    assert_eq!(some.header("content-range"), Some("bytes 2-4/10"));

    let short = store.signed_url(Method::GET, &key, Duration::from_secs(1)).await.unwrap();
    let changed = get.as_str().replace("X-Amz-Expires=3600", "X-Amz-Expires=3601");
    let unsigned = get.as_str().split('?').next().unwrap();
    let refused = if kind == Kind::S3s { 403 } else { 200 };
    // The method is signed.
    assert_eq!(call(Method::HEAD, get.as_str(), &[], "").await.status, refused);
    assert_eq!(call(Method::GET, &changed, &[], "").await.status, refused);
    // moto wants any signature, as objects are private.
    assert_eq!(call(Method::GET, unsigned, &[], "").await.status, 403);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        let status = call(Method::GET, short.as_str(), &[], "").await.status;
        if status == 403 || (kind == Kind::Moto && status == 200) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the URL does not expire: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // A part, which is how a client without keys uploads.
    let id = store.create_multipart(&key).await.unwrap();
    let options = SignedUrlOptions::default().with_query([("partNumber", "1"), ("uploadId", id.as_str())]);
    let url = store.signed_url_opts(Method::PUT, &key, hour, &options).await.unwrap();
    let reply = call(Method::PUT, url.as_str(), &[], "part").await;
    let parts = vec![PartId { content_id: reply.header("etag").unwrap().to_owned() }];
    store.complete_multipart(&key, &id, parts).await.unwrap();
    assert_eq!(server.read(key.as_ref()).await.unwrap(), "part");
}

pub async fn presigned_digests(server: &mut S3Server, kind: Kind) {
    let store = server.store();
    let (key, hour) = (Path::from("signed"), Duration::from_secs(3600));
    let sha256 = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=".to_owned();
    for (header, right) in [("content-md5", md5_base64(b"hello")), ("x-amz-checksum-sha256", sha256)] {
        let signed = SignedUrlOptions::default()
            .with_signed_header(HeaderName::from_static(header), HeaderValue::from_str(&right).unwrap());
        let url = store.signed_url_opts(Method::PUT, &key, hour, &signed).await.unwrap();
        let with = async |claim: &str, body| call(Method::PUT, url.as_str(), &[(header, claim)], body).await;
        let (refused, forbidden) = if kind == Kind::S3s { (400, 403) } else { (200, 200) };
        // The digest is what was signed, and the body is not.
        let reply = with(&right, "hallo").await;
        assert_eq!(reply.status, refused, "{}", reply.text());
        assert_eq!(reply.text().contains("<Code>BadDigest</Code>"), kind == Kind::S3s);
        assert_eq!(server.keys().await.unwrap().is_empty(), kind == Kind::S3s);
        // The digest is the body's, and not what was signed; or there is none.
        let other = md5_base64(b"hallo");
        assert_eq!(with(&other, "hallo").await.status, forbidden);
        assert_eq!(call(Method::PUT, url.as_str(), &[], "hallo").await.status, forbidden);

        assert_eq!(with(&right, "hello").await.status, 200);
        assert_eq!(server.read("signed").await.unwrap(), "hello");
        // Nor is an object replaced by what is refused.
        with(&right, "hallo").await;
        let kept = if kind == Kind::S3s { "hello" } else { "hallo" };
        assert_eq!(server.read("signed").await.unwrap(), kept);
        server.empty().await.unwrap();
    }

    let md5 = md5_base64(b"hello");
    let id = store.create_multipart(&key).await.unwrap();
    let signed = SignedUrlOptions::default()
        .with_query([("partNumber", "1"), ("uploadId", id.as_str())])
        .with_signed_header(HeaderName::from_static("content-md5"), HeaderValue::from_str(&md5).unwrap());
    let url = store.signed_url_opts(Method::PUT, &key, hour, &signed).await.unwrap();
    let reply = call(Method::PUT, url.as_str(), &[("content-md5", &md5)], "hallo").await;
    assert_eq!(reply.status, if kind == Kind::S3s { 400 } else { 200 });
    let reply = call(Method::PUT, url.as_str(), &[("content-md5", &md5)], "hello").await;
    assert_eq!(reply.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
}
