//! Looks at repositories before a builder is made of them.

use http::Method;
use iglu_end2end::{builder::Workshop, http::Credentials, server::Scope};
use serde_json::{Value, json};

/// Asks for a look, and waits for what came of it.
async fn look(shop: &Workshop, ask: &Value) -> Value {
    let id = shop.call(Method::POST, "probes", ask).await.unwrap()["id"].clone();
    loop {
        let answer = shop.call(Method::GET, &format!("probes/{id}"), &Value::Null).await.unwrap();
        if !answer.is_null() {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_repository_is_looked_at_before_there_is_a_builder() {
    let shop = Workshop::start().await.unwrap();
    let commit = shop.forge.demo("demo").unwrap();
    let repository = shop.forge.repository("demo");
    let ask = |reference: &str| json!({ "cache": "main", "repository": repository, "reference": reference });
    let nobody = shop.call(Method::POST, "probes", &ask("main")).await.unwrap_err().to_string();
    assert!(nobody.starts_with("409: no node is there that could look"), "{nobody}");
    let node = shop.node("one").await.unwrap();

    let found = look(&shop, &ask("main")).await;
    assert_eq!(
        (&found["kind"], &found["commit"], &found["subject"]),
        (&json!("found"), &json!(commit), &json!("Say hello"))
    );
    let outputs: Vec<&str> =
        found["outputs"].as_array().unwrap().iter().map(|output| output.as_str().unwrap()).collect();
    assert!(
        outputs.contains(&"packages.x86_64-linux.hello") && outputs.contains(&"checks.x86_64-linux.smoke"),
        "{outputs:?}"
    );
    assert!(!outputs.iter().any(|output| output.contains("aarch64")), "of what this node builds: {outputs:?}");
    assert_eq!(std::fs::read_dir(node.state().join("runs")).unwrap().count(), 0, "nothing of it stays");

    let wrong = look(&shop, &ask("no-such-branch")).await;
    assert_eq!(wrong["kind"], "failed");
    assert!(wrong["reason"].as_str().unwrap().contains("no-such-branch"), "{wrong}");
    shop.forge.commit("demo", &[("flake.nix", "{ outputs = { self }: nonsense; }")], "Break it").unwrap();
    let broken = look(&shop, &ask("main")).await;
    assert!(
        broken["kind"] == "found" && broken["trouble"].as_str().unwrap().contains("undefined variable 'nonsense'"),
        "{broken}"
    );
    let mut below = ask("main");
    below["folder"] = json!("nix/none");
    assert_eq!(look(&shop, &below).await["trouble"], "there is no flake.nix nix/none");

    // The credential that a builder keeps opens its repository, and is sent to no other.
    shop.forge.demo("locked").unwrap();
    shop.forge.lock("locked", "robot", "secret words");
    let locked = json!({ "repository": shop.forge.repository("locked") });
    let credential = json!({ "kind": "password", "user": "robot", "password": "secret words" });
    shop.builder_with("locked", &locked, &credential).await.unwrap();
    let mut ask = json!({ "cache": "main", "repository": shop.forge.repository("locked"), "reference": "main" });
    assert_eq!(look(&shop, &ask).await["kind"], "failed");
    ask["builder"] = json!("locked");
    assert_eq!(look(&shop, &ask).await["kind"], "found");
    ask["credential"] = json!({ "kind": "password", "user": "robot", "password": "wrong" });
    assert_eq!(look(&shop, &ask).await["kind"], "failed");
    assert!(!node.log().contains("secret words"));

    // Whoever only pushes may not let nodes fetch anything.
    let pusher = Credentials::Bearer(shop.server.token("main", Scope::Push).unwrap());
    let url = format!("{}/api/v1/probes", shop.server.url());
    let request = iglu_end2end::http::request(Method::POST, &url, &pusher, &[], ask.to_string()).unwrap();
    assert_eq!(shop.server.http().send(request).await.unwrap().status, 403);
}
