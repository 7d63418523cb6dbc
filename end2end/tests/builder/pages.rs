//! The pages of builders and runs, as a browser without JavaScript meets them, and the streams that it listens to.

use crate::state;
use http::{Method, StatusCode};
use iglu_end2end::{
    browser::{Browser, leads_to},
    builder::Workshop,
    http::{Credentials, request},
};
use serde_json::{Value, json};
use std::time::Duration;

async fn ada(shop: &Workshop) -> Browser<'_> {
    shop.server.admin(&["user", "create", "ada", "--admin", "--password-stdin"], "a long password\n").unwrap();
    // The cache was made beside the server, which looks for such every second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut ada = Browser::new(&shop.server);
    let login = [("name", "ada"), ("password", "a long password"), ("next", "/builders")];
    leads_to(&ada.post("session_create", &login).await, "/builders");
    ada
}

/// What a call of a page answers.
async fn call(browser: &mut Browser<'_>, call: &str) -> Value {
    let reply = browser.get(&format!("/api/ui/{call}")).await;
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{call}: {} {}", reply.status, reply.text()))
}

/// The fields of a builder's form.
fn fields<'a>(repository: &'a str, outputs: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("spec[repository]", repository),
        ("spec[reference]", "main"),
        ("spec[kind]", "flake"),
        ("spec[outputs]", outputs),
        ("spec[folder]", ""),
        ("spec[cores]", "0"),
        ("spec[jobs]", "1"),
        ("spec[memory_mib]", "4096"),
        ("spec[timeout_minutes]", "10"),
        ("spec[log_mib]", "8"),
        ("spec[runs]", "1"),
        ("spec[keep_runs]", "1"),
        ("spec[webhook]", "true"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn builders_runs_and_nodes_on_their_pages() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let repository = shop.forge.repository("demo");
    let mut ada = ada(&shop).await;
    assert!(ada.get("/builders").await.text().contains("There is no builder yet"));
    assert_eq!(call(&mut ada, "builder_caches").await, json!(["main"]));
    let form = ada.get("/builders/new").await.text();
    assert!(form.contains("spec[repository]") && form.contains("Fills the cache"), "{form}");

    // Refused: the field says why, and what was typed is there, but for the secret.
    let mut bad = fields("file:///etc", "hello");
    bad.extend([("name", "demo"), ("cache", "main"), ("password", "hunter2")]);
    let refused = ada.post("builder_create", &bad).await;
    let back = refused.header("location").unwrap().replace(&shop.server.url(), "");
    let (_, query) = back.split_once('?').unwrap();
    let again = ada.get(&format!("/builders/new?{query}")).await.text();
    assert!(again.contains("value=\"file:///etc\"") && !again.contains("hunter2"), "{again}");
    assert!(again.contains("wrong-spec[repository]"), "{again}");

    let mut good = fields(&repository, "report\nbroken");
    good.extend([("name", "demo"), ("cache", "main"), ("spec[keep_going]", "true")]);
    leads_to(&ada.post("builder_create", &good).await, "/builders/demo");
    assert!(ada.get("/builders").await.text().contains("/builders/demo"));
    assert_eq!(call(&mut ada, "builder_list").await[0]["name"], "demo");
    assert!(ada.get("/builders/demo").await.text().contains("It has not run yet"));
    leads_to(&ada.post("run_start", &[("builder", "demo")]).await, "/runs/1");
    let queue = ada.get("/queue").await.text();
    assert!(queue.contains("1 run waiting") && queue.contains("no node takes work"), "{queue}");
    assert_eq!(call(&mut ada, "queue_get").await[0]["state"], "queued");
    ada.post("run_cancel", &[("id", "1")]).await;
    assert!(ada.get("/runs/1").await.text().contains("cancelled by ada"));

    // A node, whose secret is shown once.
    ada.post("node_create", &[("name", "one")]).await;
    let page = ada.get("/nodes").await.text();
    let secret = page.split("iglu_node_").nth(1).map(|rest| format!("iglu_node_{}", &rest[..52])).unwrap();
    assert!(page.contains("never seen"), "{page}");
    assert!(!ada.get("/nodes").await.text().contains(&secret), "once");
    let node = iglu_end2end::builder::Node::start("one", &shop.server.url(), &secret, &[]).unwrap();
    node.ready(1).await.unwrap();
    assert!(ada.get("/nodes").await.text().contains("takes runs"));
    ada.post("node_drain", &[("node", "one"), ("to", "drain")]).await;
    assert!(ada.get("/nodes").await.text().contains("draining"));
    ada.post("node_drain", &[("node", "one"), ("to", "resume")]).await;
    assert_eq!(call(&mut ada, "node_list").await["nodes"][0]["is_draining"], false);

    leads_to(&ada.post("run_start", &[("builder", "demo"), ("reference", "main")]).await, "/runs/2");
    let run = shop.ended(2).await.unwrap();
    assert_eq!(state(&run), "failed", "{run}");
    let page = ada.get("/runs/2").await.text();
    for said in ["broken-demo failed with exit code 3", "about to fail", "report-demo", "Say hello", "/runs/2/log.txt"]
    {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert_eq!(call(&mut ada, "run_get?id=2").await["run"]["state"], "failed");
    assert!(call(&mut ada, "run_page?id=2").await["log"]["line_count"].as_u64() > Some(4));
    assert_eq!(call(&mut ada, "run_log?id=2&first=0&most=1").await["lines"].as_array().unwrap().len(), 1);
    let found = call(&mut ada, "run_find?id=2&text=ABOUT+to").await;
    assert_eq!(found["lines"].as_array().unwrap().len(), 1, "{found}");
    // It needs attention, and is there for nobody who may not see it.
    assert!(ada.get("/").await.text().contains("See the run"));

    let detail = call(&mut ada, "builder_get?name=demo").await;
    let revision = detail["revision"].to_string();
    let mut changed = fields(&repository, "report");
    changed.extend([("builder", "demo"), ("revision", &revision), ("spec[cron]", "30 4 * * *")]);
    ada.post("builder_change", &changed).await;
    let settings = ada.get("/builders/demo/settings").await.text();
    assert!(settings.contains("30 4 * * *"), "{settings}");
    // Somebody else's form is an older one.
    ada.post("builder_change", &changed).await;
    assert_eq!(call(&mut ada, "builder_get?name=demo").await["revision"], 2);
    let webhook = ada.get("/builders/demo/webhook").await.text();
    let secret = call(&mut ada, "webhook_get?builder=demo").await["secret"].as_str().unwrap().to_owned();
    assert!(webhook.contains(&secret) && webhook.contains("/hooks/demo"), "{webhook}");
    ada.post("webhook_renew", &[("builder", "demo")]).await;
    assert_ne!(call(&mut ada, "webhook_get?builder=demo").await["secret"], secret.as_str());
    let repeated = ada.post("delivery_repeat", &[("builder", "demo"), ("delivery", "7")]).await;
    assert!(repeated.header("location").unwrap().contains("__err"), "there is none");
    ada.post("builder_switch", &[("builder", "demo"), ("to", "off")]).await;
    assert!(ada.get("/builders/demo").await.text().contains("switched off"));
    ada.post("node_remove", &[("node", "one")]).await;
    assert_eq!(call(&mut ada, "node_list").await["nodes"], json!([]));
    ada.post("builder_remove", &[("builder", "demo"), ("confirm", "dem")]).await;
    assert_eq!(ada.get("/builders/demo").await.status, 200, "the name is typed again first");
    leads_to(&ada.post("builder_remove", &[("builder", "demo"), ("confirm", "demo")]).await, "/builders");
    assert_eq!(ada.get("/builders/demo").await.status, 404);
    assert_eq!(ada.get("/runs/2").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_runs_are_a_page_further() {
    let shop = Workshop::start().await.unwrap();
    let mut ada = ada(&shop).await;
    let mut form = fields("https://git.example.org/demo.git", "report");
    form.extend([("name", "demo"), ("cache", "main")]);
    leads_to(&ada.post("builder_create", &form).await, "/builders/demo");
    for id in 1..=52 {
        leads_to(&ada.post("run_start", &[("builder", "demo")]).await, &format!("/runs/{id}"));
        ada.post("run_cancel", &[("id", &id.to_string())]).await;
    }
    let newest = ada.get("/builders/demo").await.text();
    assert!(newest.contains("Run 52<") && newest.contains("Run 3<") && !newest.contains("Run 2<"), "{newest}");
    assert!(newest.contains("href=\"/builders/demo?before=3\"") && !newest.contains("Newest"), "{newest}");
    let older = ada.get("/builders/demo?before=3").await.text();
    assert!(older.contains("Run 2<") && older.contains("Run 1<") && !older.contains("Run 3<"), "{older}");
    assert!(older.contains("Newest") && !older.contains("?before="), "{older}");
    assert_eq!(call(&mut ada, "run_list?builder=demo&before=2").await["runs"].as_array().unwrap().len(), 1);
    assert!(ada.get("/builders/demo?before=1").await.text().contains("There are no older runs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_follow_the_permissions_of_their_cache() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    shop.once("demo", &json!({})).await.unwrap();
    let mut anybody = Browser::new(&shop.server);
    // The cache is public: so is what fills it. Nobody may do anything.
    for path in ["/runs/1", "/builders/demo", "/runs/1/log.txt"] {
        assert_eq!(anybody.get(path).await.status, 200, "{path}");
    }
    let page = anybody.get("/runs/1").await.text();
    assert!(!page.contains("Run again") && page.contains("built for x86_64-linux"), "{page}");
    assert!(anybody.post("run_start", &[("builder", "demo")]).await.header("location").unwrap().contains("__err"));
    for path in ["/nodes", "/queue", "/builders/new"] {
        assert_ne!(anybody.get(path).await.status, 200, "{path}");
    }
    shop.server.admin(&["cache", "set", "main", "--visibility", "private"], "").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for path in ["/runs/1", "/builders/demo", "/runs/1/log.txt", "/runs/1/news", "/builders/nosuch", "/runs/99"] {
        let status = anybody.get(path).await.status;
        assert!(status == 302 || status == 401, "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_streamed_searched_and_downloaded() {
    let shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    let command = "i=0; while [ $i -lt 12000 ]; do i=$((i+1)); echo row $i; done; printf '\\033[31mred\\033[0m <i>\\n'; sleep 2; echo last";
    shop.builder("demo", &json!({ "what": { "kind": "command", "command": command } })).await.unwrap();
    let run = shop.run("demo").await.unwrap();
    // Listens from the beginning; the connection is cut in the middle, and goes on behind what was told.
    let listen = async |last: Option<String>| {
        let url = format!("{}/runs/{run}/news", shop.server.url());
        let headers: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let request = request(Method::GET, &url, &Credentials::None, &headers, "").unwrap();
        let response = shop.server.http().stream(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    };
    let mut text = String::new();
    let mut body = listen(None).await;
    let read = async |body: &mut hyper::body::Incoming, text: &mut String, until: &str| {
        let reading = async {
            while !text.contains(until) {
                let Some(frame) = http_body_util::BodyExt::frame(body).await else { return };
                if let Some(data) = frame.unwrap().data_ref() {
                    text.push_str(&String::from_utf8_lossy(data));
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap();
    };
    read(&mut body, &mut text, "red").await;
    drop(body);
    let last = text.rsplit("id: ").next().unwrap().lines().next().unwrap().to_owned();
    assert!(last.parse::<u64>().unwrap() > 12_000, "{last}");
    let mut rest = String::new();
    let mut body = listen(Some(last.clone())).await;
    read(&mut body, &mut rest, "\"is_over\":true").await;
    let first: Value =
        serde_json::from_str(rest.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!(first["log"]["first"].to_string(), last);
    assert!(rest.contains("\"text\":\"last\"") && !rest.contains("row 12000"), "{rest}");

    let found = shop.call(Method::GET, &format!("runs/{run}/find?text=row+1199"), &Value::Null).await.unwrap();
    assert_eq!(found["lines"].as_array().unwrap().len(), 11, "1199 and 11990 to 11999");
    let many = shop.call(Method::GET, &format!("runs/{run}/find?text=ROW"), &Value::Null).await.unwrap();
    assert_eq!((many["lines"].as_array().unwrap().len(), &many["is_more"]), (1000, &json!(true)));
    let file = shop.server.http().get(&format!("{}/runs/{run}/log.txt", shop.server.url())).await.unwrap();
    let text = file.text();
    assert_eq!(text.lines().count(), 2 + 12_000 + 2);
    assert!(text.ends_with("row 12000\nred <i>\nlast\n"), "{}", &text[text.len() - 60..]);
    assert_eq!(file.header("content-disposition"), Some("attachment; filename=\"run-1.log\""));
}
