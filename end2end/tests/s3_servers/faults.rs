//! The client before a proxy that breaks its requests: what it tries again, and what it reports.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use iglu_end2end::fault_proxy::{Fault, FaultProxy, Rule};
use iglu_end2end::s3::S3Server;
use object_store::path::Path;
use object_store::signer::Signer as _;
use object_store::{Error, MultipartUpload as _, ObjectStore as _, ObjectStoreExt as _, PutMode};

use crate::{Kind, call, impatient, part};

pub async fn signatures_through_the_proxy(server: &mut S3Server, _: Kind) {
    let proxy = FaultProxy::start(&server.address()).unwrap();
    let store = impatient(server, &proxy.url());
    let key = Path::parse("nar/a b+c%.nar").unwrap();
    let mut upload = store.put_multipart(&key).await.unwrap();
    upload.put_part(part().into()).await.unwrap();
    upload.put_part("end".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), [part(), "end".into()].concat());
    assert_eq!(store.list(None).count().await, 1);
    let url = store.signed_url(Method::GET, &key, Duration::from_secs(60)).await.unwrap();
    assert!(url.as_str().starts_with(&proxy.url()));
    let reply = call(Method::GET, url.as_str(), &[("range", "bytes=-3")], "").await;
    assert_eq!(reply.text(), "end");
    store.delete_stream(stream::iter([Ok(key)]).boxed()).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(server.keys().await.unwrap(), [""; 0]);
    assert_eq!(proxy.requests(), 8);
}

pub async fn faults_that_the_client_survives(server: &mut S3Server, kind: Kind) {
    let proxy = FaultProxy::start(&server.address()).unwrap();
    let store = server.builder().with_endpoint(proxy.url()).build().unwrap();
    let key = Path::from("key");
    for fault in [Fault::SLOW_DOWN, Fault::INTERNAL_ERROR, Fault::Reset, Fault::Swallow, Fault::CutRequest(1000)] {
        let puts = proxy.add(Rule::new(fault.clone()).method(Method::PUT).times(2));
        store.put(&key, part().into()).await.unwrap();
        assert_eq!(proxy.count(puts).matched, 3, "{fault:?}");
        if fault != Fault::CutRequest(1000) {
            let gets = proxy.add(Rule::new(fault.clone()).method(Method::GET).times(2));
            assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), part());
            assert_eq!(proxy.count(gets).matched, 3, "{fault:?}");
        }
        proxy.clear();
    }

    // A broken download goes on where it broke, with a range.
    let gets = proxy.add(Rule::new(Fault::CutAnswer(1_000_000)).times(1));
    assert_eq!(store.get(&key).await.unwrap().bytes().await.unwrap(), part());
    assert_eq!(proxy.count(gets).matched, 2);

    // An error in an answer that began with 200.
    let fault = Fault::Answer { status: 200, code: "InternalError" };
    let copies = proxy.add(Rule::new(fault.clone()).method(Method::PUT).times(1));
    store.copy(&key, &Path::from("copy")).await.unwrap();
    assert_eq!(proxy.count(copies).matched, 2);
    proxy.clear();
    let ends = proxy.add(Rule::new(fault).method(Method::POST).target("uploadId=").times(1));
    let mut upload = store.put_multipart(&Path::from("parts")).await.unwrap();
    upload.put_part("whole".into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(proxy.count(ends).matched, 2);
    proxy.clear();

    // The upload is complete and nobody knows: S3 says so again, s3s that there is none.
    let mut upload = store.put_multipart(&Path::from("parts")).await.unwrap();
    upload.put_part("again".into()).await.unwrap();
    proxy.add(Rule::new(Fault::Swallow).method(Method::POST).times(1));
    let done = upload.complete().await;
    assert_eq!(server.read("parts").await.unwrap(), "again");
    match kind {
        Kind::S3s => assert!(matches!(done, Err(Error::PermissionDenied { .. }))),
        Kind::Moto => assert!(done.is_ok()),
    }
}

pub async fn faults_that_the_client_reports(server: &mut S3Server, _: Kind) {
    let proxy = FaultProxy::start(&server.address()).unwrap();
    let store = server.builder().with_endpoint(proxy.url()).build().unwrap();
    let key = Path::from("key");
    server.put("key", "text").await.unwrap();
    for fault in [Fault::ACCESS_DENIED, Fault::INVALID_ACCESS_KEY_ID] {
        proxy.clear();
        let rule = proxy.add(Rule::new(fault));
        assert!(matches!(store.get(&key).await, Err(Error::PermissionDenied { .. })));
        assert!(matches!(store.put(&key, "other".into()).await, Err(Error::PermissionDenied { .. })));
        // Not tried again.
        assert_eq!(proxy.count(rule).fired, 2);
    }

    // A new object is stored, the answer lost, and the second try finds it there: the client cannot tell whose it is.
    proxy.clear();
    let rule = proxy.add(Rule::new(Fault::Swallow).times(1));
    let created = store.put_opts(&Path::from("new"), "text".into(), PutMode::Create.into()).await;
    assert!(matches!(created, Err(Error::AlreadyExists { .. })));
    assert_eq!(proxy.count(rule).matched, 2);
    // After a reset it does not even try.
    proxy.clear();
    let rule = proxy.add(Rule::new(Fault::Reset).times(1));
    assert!(store.put_opts(&Path::from("newer"), "text".into(), PutMode::Create.into()).await.is_err());
    assert_eq!(proxy.count(rule).matched, 1);

    // Error documents are looked for by words in what an answer says of success, too.
    proxy.clear();
    server.put("SlowDown", "text").await.unwrap();
    let one = stream::iter([Ok(Path::from("SlowDown"))]).boxed();
    assert!(impatient(server, &server.endpoint()).delete_stream(one).try_collect::<Vec<_>>().await.is_err());
    assert_eq!(server.keys().await.unwrap(), ["key", "new"]);
}
