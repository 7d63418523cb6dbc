//! What starts runs: the clock, new commits, and calls of each forge.

use crate::{derivations, reason, state};
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use iglu_end2end::{
    builder::Workshop,
    http::{Credentials, Reply, request},
};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

async fn runs(shop: &Workshop, builder: &str) -> Vec<Value> {
    let runs = shop.call(Method::GET, &format!("builders/{builder}/runs"), &Value::Null).await.unwrap();
    runs.as_array().unwrap().clone()
}

fn hex(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn call(shop: &Workshop, builder: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let url = format!("{}/hooks/{builder}", shop.server.url());
    let request = request(Method::POST, &url, &Credentials::None, headers, body.to_owned()).unwrap();
    shop.server.http().send(request).await.unwrap()
}

fn answer(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn a_schedule_starts_a_run_every_minute_and_makes_up_once() {
    let mut shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    let schedule = |cron: &str, zone: &str| json!({ "triggers": { "schedule": { "cron": cron, "time_zone": zone } } });
    for (cron, zone, why) in [
        ("0 0 31 2 *", "", "names no moment"),
        ("* * * *", "", "five fields"),
        ("99 * * * *", "", "400"),
        ("* * * * *", "Mars/Olympus", "is no time zone"),
    ] {
        let refused = shop.builder("bad", &schedule(cron, zone)).await.unwrap_err().to_string();
        assert!(refused.starts_with("400") && refused.contains(why), "{cron}: {refused}");
    }
    shop.builder("demo", &schedule("* * * * *", "Europe/Berlin")).await.unwrap();
    let detail = shop.call(Method::GET, "builders/demo", &Value::Null).await.unwrap();
    assert!(detail["next_at"].is_i64(), "{detail}");
    // The server is away for some of its moments.
    shop.server.kill().unwrap();
    shop.server.set_environment("IGLU_CLOCK_AHEAD", Some("600"));
    shop.server.restart().await.unwrap();
    for _ in 0..300 {
        if runs(&shop, "demo").await.iter().any(|run| run["state"] == "succeeded") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let all = runs(&shop, "demo").await;
    assert!((1..=2).contains(&all.len()), "{all:?}");
    assert_eq!((&all[0]["trigger"], &all[0]["state"]), (&json!("schedule"), &json!("succeeded")));
}

#[tokio::test]
async fn a_new_commit_is_found_and_an_old_one_leaves_no_run() {
    let mut shop = Workshop::start().await.unwrap();
    shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    shop.builder("demo", &json!({ "triggers": { "poll_minutes": 1 } })).await.unwrap();
    for (step, expected) in [("first", 1), ("same", 1), ("new", 2)] {
        if step == "new" {
            shop.forge.commit("demo", &[("hello.sh", "#!/bin/sh\necho new\n")], "New words").unwrap();
        }
        // Two minutes later each time.
        shop.server.kill().unwrap();
        let ahead = 120 * (1 + ["first", "same", "new"].iter().position(|one| *one == step).unwrap());
        shop.server.set_environment("IGLU_CLOCK_AHEAD", Some(&ahead.to_string()));
        shop.server.restart().await.unwrap();
        let done = |all: &[Value]| all.len() == expected && all.iter().all(|run| !run["ended_at"].is_null());
        let mut quiet = 0;
        for _ in 0..300 {
            quiet = if done(&runs(&shop, "demo").await) { quiet + 1 } else { 0 };
            if quiet == 20 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let all = runs(&shop, "demo").await;
        assert!(done(&all), "{step}: {all:?}");
    }
    let all = runs(&shop, "demo").await;
    assert_eq!((&all[0]["subject"], &all[0]["trigger"]), (&json!("New words"), &json!("poll")));
}

#[tokio::test]
async fn each_forge_calls_and_is_heard() {
    let shop = Workshop::start().await.unwrap();
    let commit = shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    shop.builder("deaf", &json!({})).await.unwrap();
    assert_eq!(call(&shop, "deaf", &[], "{}").await.status, 404);
    assert_eq!(call(&shop, "nosuch", &[], "{}").await.status, 404);
    let webhook = json!({ "branches": ["main", "release/*"], "paths": ["*.nix", "hello.sh"], "pull_requests": true });
    shop.builder("demo", &json!({ "triggers": { "webhook": webhook }, "limits": { "runs": 1 } })).await.unwrap();
    let about = shop.call(Method::GET, "builders/demo/webhook", &Value::Null).await.unwrap();
    assert_eq!(about["url"], format!("{}/hooks/demo", shop.server.url()));
    let secret = about["secret"].as_str().unwrap().to_owned();

    let push = json!({ "ref": "refs/heads/main", "after": commit, "pusher": { "name": "grace" },
        "commits": [{ "added": [], "modified": ["hello.sh"], "removed": [] }] });
    let text = push.to_string();
    let by_github = |secret: &str, body: &str| format!("sha256={}", hex(secret, body));
    let github = by_github(&secret, &text);
    let heard = call(&shop, "demo", &[("x-github-event", "push"), ("x-hub-signature-256", &github)], &text).await;
    assert_eq!(heard.status, 200, "{}", heard.text());
    let first = answer(&heard)["run"].as_u64().unwrap();
    let run = shop.ended(first).await.unwrap();
    assert_eq!((state(&run), &run["run"]["commit"]), ("succeeded", &json!(commit)), "{run}");
    assert_eq!((&run["run"]["trigger"], &run["run"]["triggered_by"]), (&json!("webhook"), &json!("grace")));

    let gitlab = json!({ "ref": "refs/heads/main", "after": commit, "checkout_sha": commit, "user_username": "linus", "commits": [] });
    let headers = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", secret.as_str())];
    let heard = call(&shop, "demo", &headers, &gitlab.to_string()).await;
    let run = shop.ended(answer(&heard)["run"].as_u64().unwrap()).await.unwrap();
    assert_eq!((state(&run), &run["run"]["triggered_by"]), ("succeeded", &json!("linus")));

    // Gitea sends GitHub's headers too.
    let signature = hex(&secret, &text);
    let headers = [("x-gitea-event", "push"), ("x-gitea-signature", signature.as_str()), ("x-github-event", "push")];
    let heard = call(&shop, "demo", &headers, &text).await;
    assert_eq!(state(&shop.ended(answer(&heard)["run"].as_u64().unwrap()).await.unwrap()), "succeeded");

    let generic = json!({ "reference": "main", "by": "a script" }).to_string();
    let signature = by_github(&secret, &generic);
    let heard = call(&shop, "demo", &[("x-iglu-signature", &signature)], &generic).await;
    let run = shop.ended(answer(&heard)["run"].as_u64().unwrap()).await.unwrap();
    assert_eq!((state(&run), &run["run"]["triggered_by"]), ("succeeded", &json!("a script")));

    // What is not wanted, and what is not good.
    let github = async |event: &str, body: &Value| {
        let body = body.to_string();
        let signature = by_github(&secret, &body);
        answer(&call(&shop, "demo", &[("x-github-event", event), ("x-hub-signature-256", &signature)], &body).await)
    };
    let mut other = push.clone();
    other["ref"] = "refs/heads/other".into();
    assert_eq!(github("push", &other).await["message"], "the builder does not build this branch");
    let mut docs = push.clone();
    docs["commits"][0]["modified"] = json!(["README.md"]);
    assert!(github("push", &docs).await["message"].as_str().unwrap().contains("none of the files"));
    let mut gone = push.clone();
    gone["after"] = "0000000000000000000000000000000000000000".into();
    assert_eq!(github("push", &gone).await["message"], "a branch was removed");
    assert_eq!(github("ping", &json!({})).await["message"], "heard: the secret is right");
    let mut evil = push.clone();
    evil["ref"] = "refs/heads/release/--upload-pack=x y".into();
    assert_eq!(github("push", &evil).await["run"], Value::Null);
    let pull = |head: &str| {
        json!({ "action": "opened", "sender": { "login": "mallory" }, "pull_request": { "number": 7,
            "head": { "sha": commit, "repo": { "full_name": head } }, "base": { "repo": { "full_name": "team/demo" } } } })
    };
    assert!(github("pull_request", &pull("mallory/demo")).await["message"].as_str().unwrap().contains("fork"));
    let own = github("pull_request", &pull("team/demo")).await;
    let run = shop.ended(own["run"].as_u64().unwrap()).await.unwrap();
    assert_eq!((state(&run), &run["run"]["reference"]), ("succeeded", &json!("refs/pull/7/head")), "{}", reason(&run));
    let wrong = call(&shop, "demo", &[("x-github-event", "push"), ("x-hub-signature-256", "sha256=00")], &text).await;
    assert_eq!(wrong.status, 401);
    assert_eq!(call(&shop, "demo", &[], &text).await.status, 401);

    // All of it is on the list, and what was good can be taken again.
    let about = shop.call(Method::GET, "builders/demo/webhook", &Value::Null).await.unwrap();
    let list = about["deliveries"].as_array().unwrap();
    assert_eq!(list.iter().filter(|row| row["status"] == 401).count(), 1, "{list:?}");
    let oldest = list.last().unwrap();
    assert_eq!((&oldest["forge"], &oldest["run"]), (&json!("github"), &json!(first)));
    let path = format!("builders/demo/webhook/deliveries/{}/repeat", oldest["id"]);
    let again = shop.call(Method::POST, &path, &json!({})).await.unwrap();
    assert_eq!(state(&shop.ended(again.as_u64().unwrap()).await.unwrap()), "succeeded");
    // Another secret: the old one opens nothing.
    shop.call(Method::POST, "builders/demo/webhook/renew", &json!({})).await.unwrap();
    let old = by_github(&secret, &text);
    let refused = call(&shop, "demo", &[("x-github-event", "push"), ("x-hub-signature-256", &old)], &text).await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn the_same_commit_waits_once_and_failures_are_remembered() {
    let shop = Workshop::start().await.unwrap();
    let commit = shop.forge.demo("demo").unwrap();
    let spec = json!({ "triggers": { "webhook": { "branches": ["*"] } }, "keep_going": true,
        "what": { "kind": "flake", "outputs": ["broken", "hello"] } });
    shop.builder("demo", &spec).await.unwrap();
    let about = shop.call(Method::GET, "builders/demo/webhook", &Value::Null).await.unwrap();
    let body = json!({ "reference": "main", "commit": commit }).to_string();
    let signature = hex(about["secret"].as_str().unwrap(), &body);
    let headers = [("x-iglu-signature", signature.as_str())];
    let first = answer(&call(&shop, "demo", &headers, &body).await);
    let second = answer(&call(&shop, "demo", &headers, &body).await);
    assert_eq!(first["run"], second["run"]);
    assert_eq!(second["message"], "the same commit is in the queue already");
    let _node = shop.node("one").await.unwrap();
    let run = shop.ended(first["run"].as_u64().unwrap()).await.unwrap();
    assert_eq!(derivations(&run), [("broken-demo", "failed"), ("hello-demo", "built")]);
    // It is not built again because somebody pushed something else; by hand it is.
    let third = answer(&call(&shop, "demo", &headers, &body).await);
    let run = shop.ended(third["run"].as_u64().unwrap()).await.unwrap();
    assert_eq!(derivations(&run), [("broken-demo", "failed_before"), ("hello-demo", "substituted")], "{run}");
    assert_eq!((state(&run), reason(&run)), ("failed", "broken-demo failed before"));
    let run = shop.ended(shop.run("demo").await.unwrap()).await.unwrap();
    assert_eq!(derivations(&run), [("broken-demo", "failed"), ("hello-demo", "substituted")]);
}

#[tokio::test]
async fn forges_are_told_what_became_of_a_commit() {
    let shop = Workshop::start().await.unwrap();
    let commit = shop.forge.demo("demo").unwrap();
    let _node = shop.node("one").await.unwrap();
    for (builder, forge, word, secret) in [
        ("hub", "github", "failure", "token s3cret"),
        ("lab", "gitlab", "failed", "s3cret"),
        ("tea", "gitea", "failure", "token s3cret"),
    ] {
        // The forge is away for a moment.
        shop.forge.fail(1);
        let spec = shop
            .spec(&json!({ "what": { "kind": "flake", "outputs": ["broken"] }, "status": { "forge": forge, "api": shop.forge.url() } }))
            .unwrap();
        let create = json!({ "name": builder, "cache": "main", "spec": spec, "status_token": "s3cret" });
        shop.call(Method::POST, "builders", &create).await.unwrap();
        let run = shop.run(builder).await.unwrap();
        shop.ended(run).await.unwrap();
        let told = || shop.forge.calls().into_iter().rfind(|call| call.body.contains(&format!("iglu/{builder}")));
        for _ in 0..300 {
            if told().is_some_and(|call| call.body.contains(word)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let last = told().unwrap();
        let body: Value = serde_json::from_str(&last.body).unwrap();
        assert_eq!(
            (&body["state"], &body["description"]),
            (&json!(word), &json!("broken-demo failed with exit code 3"))
        );
        assert_eq!(body["target_url"], format!("{}/runs/{run}", shop.server.url()));
        assert_eq!(last.secret, secret);
        let path = if forge == "gitlab" { "/projects/git%2Fdemo/statuses/" } else { "/repos/git/demo/statuses/" };
        assert_eq!(last.call, format!("POST {path}{commit}"));
        let shown = shop.call(Method::GET, &format!("builders/{builder}"), &Value::Null).await.unwrap();
        assert_eq!(shown["has_status_token"], true);
        assert!(!shown.to_string().contains("s3cret"));
    }
    assert!(!shop.server.log().contains("s3cret"));
}
