//! Callers who send little and cost much: silence, hang-ups, and caches told to look at places that never answer.

use std::time::{Duration, Instant};

use crate::probe::{Memory, refused, within};
use crate::{Door, door, door_of, mentioning, pack};
use http::Method;
use iglu_end2end::digest::{self, made_up_path};
use iglu_end2end::http::{Credentials, Raw};
use iglu_end2end::nar;
use iglu_end2end::put::Draft;
use iglu_end2end::server::{Scope, Setup};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Opens a request whose body never comes.
async fn silent(door: &Door, line: &str, headers: &str) -> Raw {
    let mut raw = Raw::connect(&door.server.address()).await.unwrap();
    raw.write(format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 1000\r\n\r\n[")).await.unwrap();
    raw
}

/// Seconds of processor time that the server has used.
fn processor_seconds(door: &Door) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", door.server.pid().unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_holds_nobody_up() {
    let door = door().await;
    let draft = Draft::new("meanwhile", 1, mentioning(&[], 1), "zstd", &[]).await.unwrap();
    let token = format!("Authorization: Bearer {}\r\n", door.token);
    let preamble = format!("{token}X-Attic-Nar-Info-Preamble-Size: 500\r\n");
    let hash = "0".repeat(32);
    let mut open = Vec::new();
    for (line, headers) in [
        ("POST /api/v1/cache/main/narinfo".to_owned(), ""),
        ("POST /api/v1/cache/main/narinfo".to_owned(), token.as_str()),
        ("POST /_api/v1/get-missing-paths".to_owned(), &token),
        ("PUT /_api/v1/upload-path".to_owned(), &preamble),
        ("POST /api/v1/cache/main/nar?compression=xz".to_owned(), &token),
        (format!("POST /api/v1/cache/main/{hash}.narinfo"), &token),
        (format!("PUT /main/nar/{}.nar", "0".repeat(52)), &token),
        (format!("PUT /main/{hash}.narinfo"), &token),
        (format!("PUT /main/log/{hash}-a.drv"), &token),
        ("POST /api/v1/cache/main/pin".to_owned(), &token),
        ("PATCH /_api/v1/cache-config/main".to_owned(), &token),
    ] {
        for _ in 0..12 {
            open.push(silent(&door, &line, headers).await);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let absent = made_up_path("absent", 1);
    let hashes = [digest::hash_part(&absent).to_owned()];
    assert_eq!(door.client.missing("main", &hashes).await.unwrap().len(), 1);
    let question = serde_json::json!({"cache": "main", "store_path_hashes": hashes}).to_string();
    assert_eq!(door.send(Method::POST, "/_api/v1/get-missing-paths", &[], question).await.status, 200);
    door.putter.push(&draft).await.unwrap();
    door.has(draft.hash()).await;
    within(begun, 3, "pushing while others are silent");
    drop(open);
    door.is_calm("silence").await;
}

/// Whoever shows nothing and sends nothing holds a few requests, and whoever shows something has the rest.
#[tokio::test(flavor = "multi_thread")]
async fn silent_strangers_leave_room() {
    let door = door_of(Setup::default().with_serve(&["--requests", "64"])).await;
    let draft = Draft::new("meanwhile", 1, mentioning(&[], 1), "zstd", &[]).await.unwrap();
    let mut open = Vec::new();
    for line in ["POST /api/ui/session_create", "POST /hooks/some", "POST /api/v1/cache/main/narinfo"] {
        for _ in 0..40 {
            open.push(silent(&door, line, "").await);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    door.putter.push(&draft).await.unwrap();
    door.has(draft.hash()).await;
    within(begun, 3, "pushing while strangers are silent");
    // Where somebody has to be known, nobody else is waited for.
    for line in
        ["POST /api/v1/caches", "PATCH /api/v1/caches/main", "POST /api/v1/probes", "POST /api/v1/cache/main/pin"]
    {
        let mut refused = silent(&door, line, "").await;
        let head = refused.head(Duration::from_secs(5)).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 401"), "{line}: {head}");
    }
    let told = door.send(Method::POST, "/hooks/some", &[], "{}".to_owned()).await;
    assert_eq!((told.status.as_u16(), told.header("retry-after")), (429, Some("1")), "{}", told.text());
    drop(open);
    door.is_calm("silence").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_file_ends_with_its_reader() {
    let door = door().await;
    // A file of a GiB, and a small one behind it that can only be reached by unpacking it.
    let large = 1_u64 << 30;
    let entry =
        |name: &[u8]| nar::strings(&[b"entry", b"(", b"name", name, b"node", b"(", b"type", b"regular", b"contents"]);
    let mut head = nar::archive(&nar::strings(&[b"(", b"type", b"directory"]));
    head.extend(entry(b"a"));
    head.extend(large.to_le_bytes());
    let mut tail = nar::strings(&[b")", b")"]);
    tail.extend(entry(b"b"));
    tail.extend(nar::strings(&[b"x", b")", b")", b")"]));
    let mut file = pack::flood("zstd", &head, large).await;
    // The flood has a last block beyond the size.
    let last = file.len() - 4;
    file.truncate(last);
    let block = file.len() - 4;
    file[block] |= 1;
    file.extend(pack::packed("zstd", &tail).await);
    let mut sum = sha2::Sha256::new();
    sum.update(&head);
    let zeros = vec![0; 1 << 20];
    (0..large >> 20).for_each(|_| sum.update(&zeros));
    sum.update(&tail);
    let mut draft = Draft::of(made_up_path("large", 1), Vec::new(), file, "zstd", &[]);
    draft.narinfo = draft.narinfo.with("NarHash", &format!("sha256:{}", digest::nix32(&sum.finalize())));
    let size = (head.len() + tail.len()) as u64 + large;
    draft.narinfo = draft.narinfo.with("NarSize", &size.to_string());
    door.putter.push(&draft).await.unwrap();
    let name = format!("serve/{}/b", draft.hash());
    assert_eq!(door.putter.get(&name).await.unwrap().text(), "x");

    let memory = Memory::watch(&door.server);
    let mut open = Vec::new();
    for _ in 0..60 {
        let mut raw = Raw::connect(&door.server.address()).await.unwrap();
        raw.write(format!("GET /main/{name} HTTP/1.1\r\nHost: x\r\n\r\n")).await.unwrap();
        open.push(raw);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(open);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let before = processor_seconds(&door);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let used = processor_seconds(&door) - before;
    assert!(used < 0.3, "a second after the last reader has gone the server still used {used} s of a second");
    // Each had its own window of 2 MiB.
    memory.must_be_flat_but_for(&door.server, 2 * 60, "readers of a large file");
    door.is_calm("readers that hang up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_of_files() {
    let door = door().await;
    // A window of 128 MiB is legal for NAR files, and level 22 makes it.
    let large = 160_u64 << 20;
    let entry =
        |name: &[u8]| nar::strings(&[b"entry", b"(", b"name", name, b"node", b"(", b"type", b"regular", b"contents"]);
    let mut root = nar::archive(&nar::strings(&[b"(", b"type", b"directory"]));
    root.extend(entry(b"a"));
    root.extend(large.to_le_bytes());
    root.resize(root.len() + usize::try_from(large).unwrap(), b'a');
    root.extend(nar::strings(&[b")", b")"]));
    root.extend(entry(b"b"));
    root.extend(nar::strings(&[&vec![b'b'; 8 << 20], b")", b")", b")"]));
    let file = pack::wide_zstd(&root).await;
    let draft = Draft::of(made_up_path("window", 1), root, file, "zstd", &[]);
    door.putter.push(&draft).await.unwrap();
    let memory = Memory::watch(&door.server);
    let mut open = Vec::new();
    for _ in 0..16 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(door.server.address().parse().unwrap()).await.unwrap();
        let get = format!("GET /main/serve/{}/b HTTP/1.1\r\nHost: x\r\n\r\n", draft.hash());
        stream.write_all(get.as_bytes()).await.unwrap();
        open.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let grown = memory.grown(&door.server) / crate::MIB;
    assert!(grown < 700, "16 readers that read nothing hold {grown} MiB");
    drop(open);
    tokio::time::sleep(Duration::from_millis(500)).await;
    door.has(draft.hash()).await;
    let reply = door.putter.get(&format!("serve/{}/b", draft.hash())).await.unwrap();
    assert_eq!(reply.body.len(), 8 << 20, "the next reader: {}", reply.status);
    door.is_calm("slow readers").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packing_large_narinfos() {
    let door = door().await;
    door.server.admin(&["cache", "set", "main", "--closures", "lenient"], "").unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    let paths: Vec<String> = (0..20_000).map(|seed| made_up_path("reference", seed)).collect();
    let names: Vec<&str> = paths.iter().map(String::as_str).collect();
    let content = nar::archive(&nar::regular(names.join(" ").as_bytes()));
    let draft = Draft::new("many", 1, content, "zstd", &names).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let url = format!("/main/{}.narinfo", draft.hash());
    let ask = async |coding: &'static str| {
        for _ in 0..3 {
            let headers = [("Accept-Encoding", coding)];
            assert_eq!(door.send_as(&Credentials::None, Method::GET, &url, &headers, "").await.status, 200);
        }
    };
    let quiet = door.slowest().await;
    let memory = Memory::watch(&door.server);
    let (slowest, ..) = tokio::join!(
        door.slowest(),
        ask("br"),
        ask("br"),
        ask("br"),
        ask("br"),
        ask("gzip"),
        ask("gzip"),
        ask("gzip"),
        ask("gzip")
    );
    // On a machine that is busy with other things everybody waits.
    assert!(slowest < quiet * 4 + Duration::from_secs(4), "others waited {slowest:?}");
    memory.must_be_flat(&door.server, "packing");
    door.is_calm("packing").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_that_are_no_caches() {
    let door = door().await;
    let own = door.server.url();
    for bad in [
        "file:///etc",
        "ftp://x/",
        "gopher://x",
        "/etc",
        "x",
        "https://",
        "http:///x",
        "https://user:password@x",
        "https://x?y",
        "https://x#y",
        "https://x y",
        "https://x\ny",
        "javascript:alert(1)",
        &format!("https://{}", "x".repeat(600)),
        &own,
        &format!("{own}/main"),
    ] {
        assert!(door.server.admin(&["cache", "set", "main", "--upstream", bad], "").is_err(), "{bad:?} is taken");
    }
    let many: Vec<String> = (0..9).map(|n| format!("https://x{n}.example")).collect();
    let args: Vec<&str> =
        ["cache", "set", "main"].into_iter().chain(many.iter().flat_map(|url| ["--upstream", url])).collect();
    assert!(door.server.admin(&args, "").is_err(), "nine upstreams");

    // One that never answers, one that sends everybody round, one that answers without end.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let size = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..size]).into_owned();
                let _ = if request.contains("/round/") {
                    let line = request.split(' ').nth(1).unwrap_or("/").to_owned();
                    let head = format!(
                        "HTTP/1.1 302 Found\r\nLocation: {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    );
                    stream.write_all(head.as_bytes()).await
                } else if request.contains("/flood/") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
                    let line = format!("X-A: {}\r\n", "a".repeat(8000));
                    loop {
                        if let Err(error) = stream.write_all(line.as_bytes()).await {
                            break Err(error);
                        }
                    }
                } else {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    Ok(())
                };
            });
        }
    });
    for (seed, place) in ["round", "flood", "silent"].into_iter().enumerate() {
        let seed = seed as u64;
        let upstream = format!("http://{address}/{place}");
        door.server.admin(&["cache", "set", "main", "--upstream", &upstream], "").unwrap();
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let reference = made_up_path("ref", 1);
        let draft = Draft::new(place, seed, mentioning(&["ref"], seed), "zstd", &[&reference]).await.unwrap();
        assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
        let (memory, begun) = (Memory::watch(&door.server), Instant::now());
        let push = async { door.putter.put_narinfo(&draft, &draft.narinfo).await.unwrap() };
        let others = async {
            let begun = Instant::now();
            assert_eq!(door.server.http().get(&door.putter.url("nix-cache-info")).await.unwrap().status, 200);
            within(begun, 1, "others, meanwhile");
        };
        let (reply, ()) = tokio::join!(push, others);
        let refusal = refused(&reply, 400, place);
        assert!(refusal.says(&["ref"]), "{}", refusal.text);
        within(begun, 8, place);
        memory.must_be_flat(&door.server, place);
        door.has_not(draft.hash(), place).await;
    }
    door.is_calm("upstreams").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_pins_of_wrong_form() {
    let door = door().await;
    let admin = Credentials::Bearer(door.server.token("main", Scope::Admin).unwrap());
    let reader = Credentials::Bearer(door.server.token("main", Scope::Pull).unwrap());
    let draft = Draft::new("pinned", 1, mentioning(&[], 1), "zstd", &[]).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let key = "/api/v1/cache/main/key";
    let good = serde_json::json!({"publicKey": "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="}).to_string();
    for (who, credentials, status) in [
        ("nobody", Credentials::None, 401),
        ("a reader", reader.clone(), 403),
        ("a pusher", door.putter.credentials.clone(), 403),
    ] {
        refused(&door.send_as(&credentials, Method::POST, key, &[], good.clone()).await, status, who);
    }
    let before = door.send(Method::GET, "/api/v1/cache/main", &[], "").await.text();
    for bad in [
        "",
        "x",
        "AAAA",
        "main-1:A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=",
        &"A".repeat(88),
        &"A".repeat(3000),
        "\u{e9}",
    ] {
        let body = serde_json::json!({ "publicKey": bad }).to_string();
        refused(&door.send_as(&admin, Method::POST, key, &[], body).await, 400, bad);
    }
    // Bytes that are no point of the curve.
    let none = serde_json::json!({"publicKey": format!("Ag{}=", "A".repeat(41))}).to_string();
    refused(&door.send_as(&admin, Method::POST, key, &[], none).await, 400, "no point");
    for body in ["", "[]", "{}", r#"{"publicKey":1}"#, r#"{"publicKey":null}"#] {
        refused(&door.send_as(&admin, Method::POST, key, &[], body).await, 400, body);
    }
    refused(&door.send_as(&admin, Method::POST, key, &[], vec![b' '; 1 << 20]).await, 413, "1 MiB of key");
    assert_eq!(door.send(Method::GET, "/api/v1/cache/main", &[], "").await.text(), before);

    let pin = "/api/v1/cache/main/pin";
    let path = draft.path.as_str();
    let form = |name: &str, path: &str, keep: serde_json::Value| {
        serde_json::json!({"name": name, "storePath": path, "artifacts": [], "keep": keep}).to_string()
    };
    let null = serde_json::Value::Null;
    for (who, credentials, status) in [("nobody", Credentials::None, 401), ("a reader", reader, 403)] {
        refused(&door.send_as(&credentials, Method::POST, pin, &[], form("p", path, null.clone())).await, status, who);
    }
    let long = "n".repeat(100_000);
    for (what, body, status) in [
        ("nothing", String::new(), 400),
        ("no name", serde_json::json!({"storePath": path}).to_string(), 400),
        ("an empty name", form("", path, null.clone()), 400),
        ("a long name", form(&long, path, null.clone()), 400),
        ("a name with a line break", form("a\nb", path, null.clone()), 400),
        ("a name with control characters", form("\u{1b}[31m", path, null.clone()), 400),
        ("a path of no form", form("p", "x", null.clone()), 400),
        ("a long path", form("p", &format!("/nix/store/{long}"), null.clone()), 400),
        ("a path with \u{e9}", form("p", "/nix/store/\u{e9}\n", null.clone()), 400),
        ("a path elsewhere", form("p", &path.replace("/nix/", "/gnu/"), null.clone()), 400),
        ("a file of a path", form("p", &format!("{path}/bin"), null.clone()), 400),
        ("an absent path", form("p", &made_up_path("absent", 1), null.clone()), 404),
        ("another name of a path", form("p", &format!("{}-other", &path[..43]), null), 404),
        ("no days", form("p", path, serde_json::json!({"tag": "Days", "contents": 0})), 400),
        ("no revisions", form("p", path, serde_json::json!({"tag": "Revisions", "contents": 0})), 400),
        ("negative days", form("p", path, serde_json::json!({"tag": "Days", "contents": -1})), 400),
        ("days of 2^64", form("p", path, serde_json::json!({"tag": "Days", "contents": u64::MAX})), 400),
        ("days as text", form("p", path, serde_json::json!({"tag": "Days", "contents": "1"})), 400),
        ("another way to keep", form("p", path, serde_json::json!({"tag": "Never"})), 400),
        (
            "artifacts as text",
            serde_json::json!({"name": "p", "storePath": path, "artifacts": "x", "keep": null}).to_string(),
            400,
        ),
        (
            "2000 artifacts",
            serde_json::json!({"name": "p", "storePath": path, "artifacts": vec!["x"; 2000], "keep": null}).to_string(),
            400,
        ),
        ("1 MiB", format!("{}{}", " ".repeat(1 << 20), form("p", path, serde_json::Value::Null)), 413),
    ] {
        refused(&door.send(Method::POST, pin, &[], body).await, status, what);
    }
    assert_eq!(door.client.pins("main").await.unwrap(), []);
    door.is_calm("keys and pins").await;
}
