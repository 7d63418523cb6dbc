//! Static caches on web servers, with everything that can happen to a request on the way.

#![allow(clippy::unwrap_used)]

mod support;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use futures_util::stream;
use iglu_import::{Access, Broken, Credentials, Extent, Location, Source};
use nix_compat::{Compression, StorePath};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};
use support::{hand_made::HandMade, nar, read, why_no_nar};

/// What happens to requests for a file.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// So many times this status.
    Status(u16, usize),
    /// So many times the connection ends in the middle of the body; the length was announced.
    BreaksOff(usize),
    /// The same without an announced length.
    BreaksOffChunked,
    /// Leads to a file of another name.
    Leads(&'static str),
}

#[derive(Default)]
struct Web {
    made: Option<HandMade>,
    faults: Mutex<HashMap<String, Fault>>,
    /// How often each file was asked for.
    asked: Mutex<HashMap<String, usize>>,
    /// `Authorization` that is wanted.
    secret: Option<&'static str>,
    contents: Option<String>,
}

async fn answer(State(web): State<Arc<Web>>, headers: HeaderMap, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if web.secret.is_some_and(|secret| authorization != Some(secret)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if let Some(contents) = web.contents.as_ref().filter(|_| path == "api/v1/cache/cache/contents") {
        return contents.clone().into_response();
    }
    let Some(name) = path.strip_prefix("cache/") else { return StatusCode::NOT_FOUND.into_response() };
    let asked = {
        let mut asked = web.asked.lock().unwrap();
        let asked = asked.entry(name.to_owned()).or_default();
        *asked += 1;
        *asked
    };
    let Some(content) = web.made.as_ref().and_then(|made| made.files.get(name)).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let half = || {
        let half = Bytes::copy_from_slice(&content[..content.len() / 2]);
        Body::from_stream(stream::iter([Ok(half), Err(io::Error::other("cut"))]))
    };
    let fault = web.faults.lock().unwrap().get(name).copied();
    match fault {
        Some(Fault::Status(status, times)) if asked <= times => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::BreaksOff(times)) if asked <= times => {
            ([(header::CONTENT_LENGTH, content.len().to_string())], half()).into_response()
        }
        Some(Fault::BreaksOffChunked) => half().into_response(),
        Some(Fault::Leads(to)) => Redirect::temporary(to).into_response(),
        _ => content.into_response(),
    }
}

/// The address of a cache on a server that ends with the test.
async fn serve(web: Web) -> (String, Arc<Web>) {
    let web = Arc::new(web);
    let app = Router::new().fallback(answer).with_state(web.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/cache", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, web)
}

async fn open(address: &str) -> Source {
    Source::open(&Location::StaticCache(address.to_owned()), &Access::default()).await.unwrap()
}

async fn walk(source: &Source, roots: Vec<StorePath>) -> support::Read {
    let cache = source.caches().await.unwrap().caches.remove(0);
    read(source.paths(&cache, roots).await.unwrap()).await
}

fn narinfo_of(path: &StorePath) -> String {
    format!("{}.narinfo", path.hash())
}

#[tokio::test]
async fn closures_are_walked_each_path_once() {
    let made = HandMade::new().await;
    let (top, brotli, unsized_one) = (made.good_path("top"), made.good_path("in-brotli"), made.good_path("unsized"));
    let good = made.good.clone();
    let (address, web) = serve(Web { made: Some(made), ..Web::default() }).await;
    let source = open(&format!("{address}/")).await;
    assert_eq!(source.caches().await.unwrap().caches[0].name, "cache");
    let (paths, bad) = walk(&source, vec![brotli, top, unsized_one]).await;
    assert!(bad.is_empty(), "{bad:?}");
    assert_eq!(paths.keys().collect::<Vec<_>>(), {
        let mut good: Vec<_> = good.iter().collect();
        good.sort();
        good
    });
    assert!(paths.values().any(|path| path.total == Some(good.len() as u64)));
    for path in paths.values() {
        nar(&source, path).await;
    }
    assert!(web.asked.lock().unwrap().values().all(|times| *times == 1));
}

#[tokio::test]
async fn passing_faults_are_asked_again_and_lasting_ones_named() {
    let mut made = HandMade::new().await;
    let mut paths = HashMap::new();
    let mut faults = HashMap::new();
    for (name, fault, of_narinfo) in [
        ("twice-500", Fault::Status(500, 2), true),
        ("nar-twice-503", Fault::Status(503, 2), false),
        ("too-often", Fault::Status(502, 100), true),
        ("forbidden", Fault::Status(403, 100), true),
        ("narinfo-breaks-off", Fault::BreaksOff(1), true),
        ("nar-breaks-off", Fault::BreaksOff(100), false),
        ("nar-breaks-off-chunked", Fault::BreaksOffChunked, false),
        ("nar-404", Fault::Status(404, 100), false),
        ("nar-500", Fault::Status(500, 100), false),
        ("nar-elsewhere", Fault::Leads("/cache/nar/the-file"), false),
    ] {
        let narinfo = made.path(name, Compression::Zstd, &[]).await;
        let file = if of_narinfo { narinfo_of(&narinfo.store_path) } else { narinfo.url.clone() };
        if name == "nar-elsewhere" {
            made.put("nar/the-file", made.files[&narinfo.url].clone());
        }
        faults.insert(file, fault);
        paths.insert(name, narinfo.store_path);
    }
    let evil: Vec<String> = made.read.iter().map(|(name, _)| name.clone()).collect();
    let whys: HashMap<String, &str> = made.read.iter().cloned().collect();
    let mut roots: Vec<StorePath> = paths.values().cloned().collect();
    roots.extend(evil.iter().map(|name| StorePath::parse(name).unwrap()));
    let absent = StorePath::parse("00000000000000000000000000000000-absent").unwrap();
    roots.push(absent.clone());
    let (address, web) = serve(Web { made: Some(made), faults: Mutex::new(faults), ..Web::default() }).await;
    let source = open(&address).await;
    let (found, bad) = walk(&source, roots).await;

    let broken = |name: &str| -> &Broken { &bad[&paths[name].to_absolute()] };
    assert!(broken("too-often").why.contains("502") && broken("too-often").extent == Extent::One);
    assert!(broken("forbidden").why.contains("credentials"));
    assert_eq!(bad[&absent.to_absolute()].extent, Extent::Absent);
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert_eq!(web.asked.lock().unwrap()[&narinfo_of(&paths["twice-500"])], 3);
    assert_eq!(web.asked.lock().unwrap()[&narinfo_of(&paths["forbidden"])], 1);
    assert_eq!(web.asked.lock().unwrap()[&narinfo_of(&paths["too-often"])], 5);

    let path = |name: &str| &found[&paths[name].to_string()];
    for good in ["twice-500", "nar-twice-503", "narinfo-breaks-off", "nar-elsewhere"] {
        nar(&source, path(good)).await;
    }
    let lasting = [
        (path("nar-breaks-off"), ""),
        (path("nar-breaks-off-chunked"), ""),
        (path("nar-404"), "is not there"),
        (path("nar-500"), "500"),
    ];
    let evil = evil.iter().map(|name| (&found[name], whys[name]));
    let source = &source;
    let checks = lasting.into_iter().chain(evil).map(|(path, why)| async move {
        let found = why_no_nar(source, path).await;
        assert!(found.contains(why), "{}: {found}", path.narinfo.store_path);
    });
    futures_util::future::join_all(checks).await;
}

#[tokio::test]
async fn credentials_are_sent_and_asked_for() {
    for (secret, credentials) in [
        ("Bearer token", Credentials::Bearer("token".to_owned().into())),
        ("Basic bWU6dG9rZW4=", Credentials::Basic { user: "me".to_owned(), password: "token".to_owned().into() }),
    ] {
        let made = HandMade::new().await;
        let top = made.good_path("top");
        let (address, _web) = serve(Web { made: Some(made), secret: Some(secret), ..Web::default() }).await;
        let location = Location::StaticCache(address);
        let error = Source::open(&location, &Access::default()).await.unwrap_err().to_string();
        assert!(error.contains("401") && error.contains("credentials"), "{error}");
        let access = Access { credentials: Some(credentials), ..Access::default() };
        let source = Source::open(&location, &access).await.unwrap();
        let (paths, bad) = walk(&source, vec![top]).await;
        assert_eq!((paths.len(), bad.len()), (3, 0));
        for path in paths.values() {
            nar(&source, path).await;
        }
    }
}

/// Another host is never shown the credentials.
#[tokio::test]
async fn redirects_to_others_take_no_credentials_along() {
    let mut made = HandMade::new().await;
    let narinfo = made.path("moved", Compression::Zstd, &[]).await;
    let mut there = HandMade::new().await;
    there.put("the-file", made.files[&narinfo.url].clone());
    // It refuses whoever shows credentials that it does not know.
    let (elsewhere, _there) = serve(Web { made: Some(there), secret: Some("Bearer other"), ..Web::default() }).await;
    let to: &'static str = format!("{}/the-file", elsewhere.replace("127.0.0.1", "localhost")).leak();
    let faults = Mutex::new(HashMap::from([(narinfo.url.clone(), Fault::Leads(to))]));
    let (address, _web) = serve(Web { made: Some(made), faults, secret: Some("Bearer other"), ..Web::default() }).await;
    let access = Access { credentials: Some(Credentials::Bearer("other".to_owned().into())), ..Access::default() };
    let source = Source::open(&Location::StaticCache(address), &access).await.unwrap();
    let (paths, _) = walk(&source, vec![narinfo.store_path.clone()]).await;
    let why = why_no_nar(&source, &paths[&narinfo.store_path.to_string()]).await;
    assert!(why.contains("401"), "{why}");
}

#[tokio::test]
async fn another_iglu_lists_its_paths() {
    let made = HandMade::new().await;
    let good = made.good.clone();
    let names: Vec<String> = good.iter().map(|name| format!("\"{name}\"")).collect();
    let contents = format!("[{},\"nonsense\"]", names.join(","));
    let (address, _web) = serve(Web { made: Some(made), contents: Some(contents.clone()), ..Web::default() }).await;
    let source = open(&address).await;
    let (paths, bad) = walk(&source, Vec::new()).await;
    assert_eq!((paths.len(), bad.len()), (good.len(), 1));
    assert_eq!(bad["nonsense"].extent, Extent::One);

    // A list that is not whole is not taken for one.
    let short = contents[..contents.len() - 1].to_owned();
    let made = HandMade::new().await;
    let (address, _web) = serve(Web { made: Some(made), contents: Some(short), ..Web::default() }).await;
    let (paths, bad) = walk(&open(&address).await, Vec::new()).await;
    assert_eq!(paths.len(), good.len());
    assert!(bad.values().any(|broken| broken.extent == Extent::Rest), "{bad:?}");
}

#[tokio::test]
async fn servers_that_cannot_list_say_so() {
    let (address, _web) = serve(Web { made: Some(HandMade::new().await), ..Web::default() }).await;
    let source = open(&address).await;
    let cache = source.caches().await.unwrap().caches.remove(0);
    let error = source.paths(&cache, Vec::new()).await.err().unwrap().to_string();
    assert!(error.contains("name those to begin with"), "{error}");
    let (address, _web) = serve(Web::default()).await;
    let error = Source::open(&Location::StaticCache(address), &Access::default()).await.unwrap_err().to_string();
    assert!(error.contains("not a binary cache"), "{error}");
    // Nobody listens here.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}/cache", listener.local_addr().unwrap());
    drop(listener);
    let error = Source::open(&Location::StaticCache(nobody), &Access::default()).await.unwrap_err().to_string();
    assert!(error.contains("does not answer") && error.contains("5 times"), "{error}");
}
