//! Static caches in folders and in buckets: made by hand with everything that can be wrong, and by the real Nix.

#![allow(clippy::unwrap_used)]

mod support;

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures_util::StreamExt as _;
use iglu_end2end::nix::{self, Nix};
use iglu_import::{Access, Extent, Location, S3Access, SideKind, Source, StaticCache};
use nix_compat::store_path::StorePath;
use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path as ObjectPath};
use std::{collections::HashMap, fs, sync::Arc};
use support::{bytes, hand_made::HandMade, hand_made::LOG, nar, read, why_no_nar};

async fn open(address: &str) -> Source {
    Source::open(&Location::StaticCache(address.to_owned()), &Access::default()).await.unwrap()
}

/// Everything that a listing of [`HandMade`] has to give.
async fn everything(source: &Source, made: &HandMade) {
    let found = source.caches().await.unwrap();
    assert_eq!((found.caches.len(), found.left_out.len()), (1, 0));
    let cache = &found.caches[0];
    assert_eq!((cache.name.as_str(), cache.priority, cache.signing_keys.len()), ("cache", Some(33), 0));

    let (paths, bad) = read(source.paths(cache, Vec::new()).await.unwrap()).await;
    for name in &made.good {
        nar(source, &paths[name]).await;
    }
    for (what, why) in &made.listed {
        assert!(bad[what].why.contains(why) && bad[what].extent == Extent::One, "{}", bad[what]);
    }
    for (name, why) in &made.read {
        let found = why_no_nar(source, &paths[name]).await;
        assert!(found.contains(why) && found.contains(name), "{found}");
    }
    assert_eq!((paths.len(), bad.len()), (made.good.len() + made.read.len(), made.listed.len()), "{bad:?}");

    // From one path on, each once.
    let top = made.good_path("top");
    let (walked, bad) = read(source.paths(cache, vec![top.clone(), top]).await.unwrap()).await;
    let mut names: Vec<&str> = walked.values().map(|path| path.narinfo.store_path.name()).collect();
    names.sort_unstable();
    assert_eq!((names.as_slice(), bad.len()), (["leaf", "middle", "top"].as_slice(), 0));
    let absent = StorePath::parse("00000000000000000000000000000000-absent").unwrap();
    let (_, bad) = read(source.paths(cache, vec![absent.clone()]).await.unwrap()).await;
    assert_eq!(bad[&absent.to_absolute()].extent, Extent::Absent);
}

/// The side files of [`HandMade`].
async fn side_files(source: &Source) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    let mut files = source.side_files();
    while let Some(file) = files.next().await {
        match file {
            Ok(file) => found.push(file),
            Err(error) => broken.push(error.what),
        }
    }
    let kinds: Vec<SideKind> = found.iter().map(|file| file.kind).collect();
    assert_eq!(kinds, SideKind::ALL);
    assert_eq!(broken, ["log/README"]);
    assert_eq!(found[0].name, LOG);
    assert_eq!(bytes(source.side_file(&found[0]).await.unwrap()).await.unwrap(), b"building hello\n");
    assert_eq!(found[1].name, format!("sha256:{}!out.doi", "ab".repeat(32)));
    assert_eq!(bytes(source.side_file(&found[2]).await.unwrap()).await.unwrap(), b"{}");
}

#[tokio::test]
async fn a_folder() {
    let (folder, made) = (tempfile::tempdir().unwrap(), HandMade::new().await);
    let cache = folder.path().join("cache");
    for (name, content) in &made.files {
        let file = cache.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    // What evil URLs would lead to, were they followed.
    fs::create_dir(folder.path().join("nar")).unwrap();
    fs::write(folder.path().join("nar/x"), "secret").unwrap();
    fs::write(folder.path().join("x"), "secret").unwrap();
    let source = open(cache.to_str().unwrap()).await;
    everything(&source, &made).await;
    side_files(&source).await;
    open(&format!("file://{}/", cache.display())).await;
}

#[tokio::test]
async fn an_object_store_below_a_prefix() {
    let (store, made) = (Arc::new(InMemory::new()), HandMade::new().await);
    for (name, content) in &made.files {
        store.put(&ObjectPath::parse(format!("some/cache/{name}")).unwrap(), content.clone().into()).await.unwrap();
    }
    store.put(&ObjectPath::from("some/cache2/nix-cache-info"), "x".into()).await.unwrap();
    let source = StaticCache::of_objects(store, "some/cache", "s3://bucket/some/cache").await.unwrap();
    let source = Source::StaticCache(source);
    everything(&source, &made).await;
    side_files(&source).await;
}

/// As much of S3 as is asked for: reads, and lists of three names a page. Every request has to be signed.
async fn bucket(State(made): State<Arc<HandMade>>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    if !headers.get("authorization").is_some_and(|value| value.to_str().unwrap().contains("Credential=me/")) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match key.strip_prefix("some/cache/").and_then(|name| made.files.get(name)) {
        // A narinfo may be stored packed.
        Some(content) if key.ends_with(".narinfo") => {
            let packed = iglu_end2end::put::compress("gzip", content).await.unwrap();
            ([("content-encoding", "gzip"), ("etag", "\"x\""), ("last-modified", NOW)], packed).into_response()
        }
        Some(content) => ([("etag", "\"x\""), ("last-modified", NOW)], content.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

const NOW: &str = "Tue, 01 Jul 2025 00:00:00 GMT";

async fn list(State(made): State<Arc<HandMade>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let prefix = &query["prefix"];
    let names = made.files.keys().map(|name| format!("some/cache/{name}")).filter(|key| key.starts_with(prefix));
    let from: usize = query.get("continuation-token").map_or(0, |token| token.parse().unwrap());
    let page: Vec<String> = names.skip(from).take(3).collect();
    let next = from + page.len();
    let more = page.len() == 3;
    let contents: String = page
        .iter()
        .map(|key| {
            let key = key.replace('&', "&amp;");
            format!(
                "<Contents><Key>{key}</Key><LastModified>2025-07-01T00:00:00.000Z</LastModified><ETag>x</ETag><Size>1</Size></Contents>"
            )
        })
        .collect();
    let token = if more { format!("<NextContinuationToken>{next}</NextContinuationToken>") } else { String::new() };
    format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{token}{contents}</ListBucketResult>").into_response()
}

#[tokio::test]
async fn a_bucket_over_the_network() {
    let made = Arc::new(HandMade::new().await);
    let app = Router::new().route("/bucket", get(list)).route("/bucket/{*key}", get(bucket)).with_state(made.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let location = Location::StaticCache(format!("s3://bucket/some/cache/?endpoint={address}&scheme=http&region=here"));
    let mut access = Access {
        s3: S3Access {
            access_key_id: Some("me".to_owned()),
            secret_access_key: Some("secret".to_owned().into()),
            ..S3Access::default()
        },
        ..Access::default()
    };
    let source = Source::open(&location, &access).await.unwrap();
    everything(&source, &made).await;
    side_files(&source).await;
    access.s3.access_key_id = Some("you".to_owned());
    let error = Source::open(&location, &access).await.unwrap_err().to_string();
    assert!(error.contains("s3://bucket/some/cache"), "{error}");
}

#[tokio::test]
async fn what_is_no_cache_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let refused = async |address: &str| {
        let opened = Source::open(&Location::StaticCache(address.to_owned()), &Access::default()).await;
        opened.expect_err("it opened").to_string()
    };
    assert!(refused(place).await.contains("no nix-cache-info"));
    assert!(refused(&format!("{place}/absent")).await.contains("cannot be read"));
    assert!(refused("ftp://x/y").await.contains("not a folder"));
    fs::write(folder.path().join("nix-cache-info"), "StoreDir: /gnu/store\n").unwrap();
    assert!(refused(place).await.contains("/gnu/store"));
}

#[tokio::test]
async fn what_the_real_nix_writes() {
    let (top, closure) = nix::chain("import").await.unwrap();
    let client = Nix::new().unwrap();
    for compression in ["xz", "zstd", "none"] {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}?compression={compression}&write-nar-listing=true", folder.path().display());
        let copied = client.copy_to(&url, &[&top]).await.unwrap();
        assert!(copied.status.success(), "{}", nix::said(&copied));
        let source = open(folder.path().to_str().unwrap()).await;
        let cache = source.caches().await.unwrap().caches.remove(0);
        let (paths, bad) = read(source.paths(&cache, Vec::new()).await.unwrap()).await;
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(paths.len(), closure.len());
        for info in &closure {
            let path = &paths[iglu_end2end::digest::base_name(&info.path)];
            let references: Vec<String> = path.narinfo.references.iter().map(ToString::to_string).collect();
            assert_eq!((&references, path.narinfo.compression.as_str()), (&info.references, compression));
            assert_eq!(path.narinfo.nar_hash.to_nix32(), info.nar_hash);
            nar(&source, path).await;
        }
    }
}
