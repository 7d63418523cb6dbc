//! Addresses that climb, are not text, are far too long or lead nowhere: each by each method, none of them a failure.

use std::time::Duration;

use crate::door;
use crate::smuggling::exchange;
use iglu_end2end::server::Scope;

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_lead_nowhere() {
    let door = door().await;
    door.server.cache("other", true).unwrap();
    let admin = door.server.token_named("root", None, Scope::Admin, None).unwrap();
    let (hash, file) = ("0".repeat(32), "0".repeat(52));
    let long = "a".repeat(20_000);
    let folders = "a/".repeat(20_000);
    let drv = "00bgd045z0d4icpbc2yyz4gx48ak44la-a";
    let upload = "00000000-0000-0000-0000-000000000000";
    let mut paths: Vec<String> = Vec::new();
    // What each route makes a key of.
    let routes = [
        "/main/nar/",
        "/main/narurl/",
        "/main/log/",
        "/main/realisations/",
        "/main/build-trace-v2/",
        "/main/debuginfo/",
        "/main/serve/",
        "/main/",
        "/",
        "/api/v1/cache/",
        "/api/v1/cache/main/",
        "/api/v1/cache/main/nar/",
        "/api/v1/cache/main/serve/",
        "/api/v1/cache/main/multipart-nar/",
        "/api/v1/",
        "/_api/v1/cache-config/",
        "/_api/v1/",
        "/upload/",
        "/assets/",
        "/pkg/",
        "/setup/",
        "/events/",
    ];
    for route in routes {
        for odd in [
            "..",
            "../",
            "%2e%2e",
            "%2E%2E%2F",
            "..%2f..%2f..%2f..%2fetc%2fpasswd",
            "%2fetc%2fpasswd",
            "..%5c..%5cx",
            "%00",
            "x%00.narinfo",
            "%ff%fe",
            "%C0%AE%C0%AE/",
            "%",
            "%zz",
            "%2",
            ".",
            "x%0d%0aX-A:%20b",
            "%7f",
            "*",
            "~root",
            "x;y=z",
            "x?%00=%ff&..=/..",
            "nix-cache-info%2f..",
            "%E2%80%AE",
        ] {
            paths.push(format!("{route}{odd}"));
        }
        paths.push(format!("{route}{long}"));
    }
    paths.extend([
        format!("/main/{folders}"),
        format!("/main/nar/{file}.nar/../{file}.nar"),
        format!("/main/nar/{file}.nar/"),
        format!("/main/nar/{file}.nar%00"),
        format!("/main/{hash}.narinfo/"),
        format!("/main/{hash}.narinfo%20"),
        format!("/main/{hash}%2enarinfo"),
        format!("/main/..%2fother%2f{hash}.narinfo"),
        format!("/main%2f..%2fother/{hash}.narinfo"),
        format!("/main/../other/{hash}.narinfo"),
        format!("/main/serve/{hash}/../../../../etc/passwd"),
        format!("/main/serve/{hash}/%2e%2e%2f%2e%2e"),
        format!("/main/serve/../{hash}/x"),
        format!("/main/log/{drv}?%ff.drv"),
        format!("/main/log/{drv}?%00.drv"),
        format!("/main/log/{drv}?../../x.drv"),
        format!("/upload/{upload}/1"),
        format!("/upload/{upload}/0?md5=%ff&proof=%00"),
        format!("/upload/{upload}/99999999999999999999"),
        format!("/upload/{upload}/-1"),
        format!("/upload/..%2f{upload}/1"),
        format!("/api/v1/cache/main/multipart-nar/{upload}?partNumber=x"),
        format!("/api/v1/cache/main/multipart-nar/{upload}?partNumber=1&partNumber=2"),
        format!("/api/v1/cache/main/multipart-nar/{upload}/complete?uploadId=%ff"),
        "/api/v1/cache/main%2f..%2fother".to_owned(),
        "/api/v1/cache/main/%6e%61r".to_owned(),
        "/api/v1/../../main/nix-cache-info".to_owned(),
        "/MAIN/nix-cache-info".to_owned(),
        "/main/NIX-CACHE-INFO".to_owned(),
        "/main;x/nix-cache-info".to_owned(),
        "/main/nix-cache-info/".to_owned(),
        "/main%20/nix-cache-info".to_owned(),
        "/%6dain%00/nix-cache-info".to_owned(),
    ]);
    for token in ["", door.token.as_str(), &admin] {
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE"] {
            // One connection for all of them, since each answer must leave it in order.
            for some in paths.chunks(40) {
                let heads: String = some
                    .iter()
                    .map(|path| {
                        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n")
                    })
                    .collect();
                let answer = exchange(&door, heads, Duration::from_secs(20), some.len()).await;
                assert_eq!(answer.statuses.len(), some.len(), "{method}: an answer is missing among {some:?}");
                for (path, status) in some.iter().zip(&answer.statuses) {
                    let shown: String = path.chars().take(120).collect();
                    assert!(*status < 500, "{method} {shown}: {status}");
                    // A page may be shown for what is no file of a cache and no call, or the way to log in.
                    let machine = ["/nar", "/log/", "/realisations/", "/build-trace", "/debuginfo/", "/serve/", "api/"];
                    let page =
                        matches!(status, 200 | 302 | 303 | 308) && !machine.iter().any(|part| shown.contains(part));
                    assert!(*status >= 400 || page, "{method} {shown}: {status}");
                }
                assert!(!answer.text.contains("root:"), "a file of the system");
                assert!(!answer.text.to_lowercase().contains("\nx-a:"), "a header out of an address");
            }
        }
    }
    door.is_calm("addresses").await;
}
