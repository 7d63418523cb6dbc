//! People as the pages and the API manage them: invitations, roles, users, and what each may do then.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::Method;
use iglu_end2end::{
    browser::{Browser, leads_to, set_up},
    http::Credentials,
    server::{Server, Setup},
};
use serde_json::{Value, json};

/// The link that stands on the page, once.
async fn shown_link(browser: &mut Browser<'_>, page: &str) -> String {
    let text = browser.get(page).await.text();
    let secret = text.split("/invite/").nth(1).unwrap_or_else(|| panic!("{page} shows no link"));
    let secret: String = secret.chars().take_while(char::is_ascii_alphanumeric).collect();
    assert!(!browser.get(page).await.text().contains(&secret), "a link is shown once");
    secret
}

async fn call(browser: &mut Browser<'_>, function: &str) -> Value {
    serde_json::from_str(&browser.get(&format!("/api/ui/{function}")).await.text()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_invited_and_join_on_their_pages() {
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    server.cache("other", true).unwrap();
    let invite = [("cache", "main"), ("note", "Grace"), ("role", "maintainer")];
    ada.post("member_invite", &invite).await;
    let secret = shown_link(&mut ada, "/caches/main/members").await;

    let mut grace = Browser::new(&server);
    let page = grace.get(&format!("/invite/{secret}")).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("ada invites you to be a maintainer of main."), "{}", page.text());
    assert_eq!(call(&mut grace, &format!("invitation_get?secret={secret}")).await["invitation"]["note"], "Grace");
    // What was typed is there again when it was refused, and never the password.
    let taken = [("secret", secret.as_str()), ("name", "ada"), ("password", "a password of Grace")];
    grace.cookies.push(("unrelated".to_owned(), "1".to_owned()));
    let refused = grace.post("invitation_accept_new", &taken).await;
    assert_eq!(refused.status, 302, "{}", refused.text());
    let back = refused.header("location").unwrap().replace(&server.url(), "");
    let query = back.split_once('?').unwrap().1;
    let again = grace.get(&format!("/invite/{secret}?{query}")).await.text();
    assert!(again.contains("there is a user") || again.contains("There is a user"), "{again}");
    assert!(again.contains("value=\"ada\""), "what was typed stays: {again}");
    assert!(!again.contains("a password of Grace"));
    let fresh = grace.get(&format!("/invite/{secret}")).await.text();
    assert!(!fresh.contains("value=\"ada\""), "and is forgotten then");

    let accept = [("secret", secret.as_str()), ("name", "grace"), ("password", "a password of Grace")];
    leads_to(&grace.post("invitation_accept_new", &accept).await, "/");
    assert!(grace.is_logged_in());
    assert_eq!(Browser::new(&server).get(&format!("/invite/{secret}")).await.status, 404, "once");
    assert_eq!(grace.get("/caches/main/settings").await.status, 200);
    assert_eq!(grace.get("/caches/other").await.status, 404);
    assert_eq!(grace.get("/caches/absent").await.status, 404);
    assert_eq!(grace.get("/admin/users").await.status, 403);
    let listed = grace.get("/caches").await.text();
    assert!(listed.contains("/caches/main") && !listed.contains("/caches/other"), "{listed}");
    // A maintainer sets what the cache keeps, and not who is in it.
    let members = grace.get("/caches/main/members").await.text();
    assert!(members.contains("grace") && !members.contains("Invite by link"), "{members}");
    grace.post("member_set", &[("cache", "main"), ("name", "grace"), ("role", "owner")]).await;
    assert_eq!(call(&mut ada, "member_list?cache=main").await["members"]["members"][0]["role"], "maintainer");

    // Somebody who is here joins another cache with the account they have.
    ada.post("member_invite", &[("cache", "other"), ("note", "Grace"), ("role", "viewer")]).await;
    let secret = shown_link(&mut ada, "/caches/other/members").await;
    assert!(grace.get(&format!("/invite/{secret}")).await.text().contains("Join as grace"));
    leads_to(&grace.post("invitation_accept", &[("secret", &secret)]).await, "/");
    assert_eq!(grace.get("/caches/other").await.status, 200);
    assert_eq!(grace.get("/caches/other/members").await.status, 403);

    ada.post("member_invite", &[("cache", "main"), ("note", "Nobody"), ("role", "viewer")]).await;
    let secret = shown_link(&mut ada, "/caches/main/members").await;
    let id = call(&mut ada, "member_list?cache=main").await["members"]["invitations"][0]["id"].to_string();
    ada.post("invitation_revoke", &[("id", &id)]).await;
    assert_eq!(Browser::new(&server).get(&format!("/invite/{secret}")).await.status, 404);

    ada.post("member_remove", &[("cache", "main"), ("name", "grace")]).await;
    assert_eq!(grace.get("/caches/main").await.status, 404);
    let activity = ada.get("/caches/main/activity").await.text();
    for words in ["member.remove", "grace of main", "invitation.accept", "127.0.0.1"] {
        assert!(activity.contains(words), "{words}: {activity}");
    }
    let rows = call(&mut ada, "cache_activity?cache=other").await;
    assert!(rows["rows"].as_array().unwrap().iter().all(|row| row["object"] != "grace of main"), "{rows}");
}

/// What a browser keeps, what other hosts may set, and what people write.
#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_this_hosts_and_words_are_words() {
    // Behind TLS: the names say that no other host of the domain can have set them.
    let server = Setup::default().with_public_url("https://cache.example.org").start().await.unwrap();
    server.admin(&["user", "create", "ada", "--password-stdin", "--admin"], "a long password").unwrap();
    server.cache("main", true).unwrap();
    let mut ada = Browser::new(&server);
    let login = [("name", "ada"), ("password", "a long password")];
    let reply = ada.post("session_create", &login).await;
    let cookie = reply.header("set-cookie").unwrap_or_default();
    let secret = cookie.strip_prefix("__Host-iglu_session=").and_then(|rest| rest.split(';').next()).unwrap();
    for part in ["; Path=/;", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
        assert!(cookie.contains(part), "{part}: {cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    assert_eq!(ada.get("/tokens").await.status, 200);
    // The same secret under a name that others could set opens nothing.
    let mut planted = Browser::new(&server);
    planted.cookies.push(("iglu_session".to_owned(), secret.to_owned()));
    assert_eq!(planted.get("/tokens").await.status, 302);
    // A session that somebody made up before the login is not the one after it.
    let mut fixed = Browser::new(&server);
    fixed.cookies.push(("__Host-iglu_session".to_owned(), "0".repeat(52)));
    fixed.post("session_create", &login).await;
    assert!(fixed.cookies.iter().all(|(_, value)| *value != "0".repeat(52)), "{:?}", fixed.cookies);

    let script = "<script>alert(1)</script>\"'&";
    ada.post("member_invite", &[("cache", "main"), ("note", script), ("role", "viewer")]).await;
    let page = ada.get("/caches/main/members").await;
    assert!(page.text().contains("&lt;script&gt;alert(1)"), "{}", page.text());
    assert!(!page.text().contains("<script>alert"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe-inline") && policy.contains("'nonce-"), "{policy}");
    // What was refused comes back as text too.
    let refused = ada.post("member_set", &[("cache", "main"), ("name", script), ("role", "viewer")]).await;
    let query = refused.header("location").unwrap().split_once('?').unwrap().1.to_owned();
    let page = ada.get(&format!("/caches/main/members?{query}")).await.text();
    assert!(page.contains("value=\"&lt;script&gt;") && !page.contains("<script>alert"), "{page}");
    let activity = ada.get("/caches/main/activity").await.text();
    assert!(activity.contains("&lt;script&gt;") && !activity.contains("<script>alert"), "{activity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_manage_users_on_their_page() {
    let server = Server::start().await.unwrap();
    let (mut ada, _) = set_up(&server).await;
    ada.post("user_invite", &[("note", "Bob"), ("role", "member")]).await;
    let secret = shown_link(&mut ada, "/admin/users").await;
    let mut bob = Browser::new(&server);
    let accept = [("secret", secret.as_str()), ("name", "bob"), ("password", "a password of Bob")];
    leads_to(&bob.post("invitation_accept_new", &accept).await, "/");
    let token = [("name", "mine"), ("cache", ""), ("scope", "pull"), ("expires_days", ""), ("owner", "me")];
    leads_to(&bob.post("token_create", &token).await, "/tokens");

    ada.post("user_change", &[("name", "bob"), ("to", "admin")]).await;
    assert_eq!(bob.get("/admin/users").await.status, 200);
    ada.post("user_change", &[("name", "bob"), ("to", "member")]).await;
    assert_eq!(bob.get("/admin/users").await.status, 403);
    ada.post("user_change", &[("name", "bob"), ("to", "disabled")]).await;
    assert!(bob.get("/").await.header("location").is_some_and(|to| to.starts_with("/login")), "he is out at once");
    ada.post("user_change", &[("name", "bob"), ("to", "enabled")]).await;
    assert!(ada.get("/admin/users").await.text().contains("bob"));

    ada.post("user_password_link", &[("name", "bob")]).await;
    let secret = shown_link(&mut ada, "/admin/users").await;
    let mut bob = Browser::new(&server);
    let password = [("secret", secret.as_str()), ("password", "another password")];
    leads_to(&bob.post("invitation_accept_password", &password).await, "/");
    assert!(bob.is_logged_in());

    ada.post("user_remove", &[("name", "bob"), ("confirm", "bobby")]).await;
    assert_eq!(call(&mut ada, "user_list").await["users"]["users"].as_array().unwrap().len(), 2);
    ada.post("user_remove", &[("name", "bob"), ("confirm", "bob")]).await;
    assert_eq!(call(&mut ada, "user_list").await["users"]["users"].as_array().unwrap().len(), 1);
    ada.post("user_change", &[("name", "ada"), ("to", "member")]).await;
    assert_eq!(ada.get("/admin/users").await.status, 200, "the last administrator stays one");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_manage_people_and_tokens() {
    let server = Server::start().await.unwrap();
    server.cache("main", true).unwrap();
    let admin =
        |args: &[&str], input: &str| -> Value { serde_json::from_str(&server.admin(args, input).unwrap()).unwrap() };
    admin(&["user", "create", "ada", "--password-stdin", "--admin"], "a long password");
    admin(&["user", "create", "bob", "--password-stdin"], "a long password");
    let token = admin(&["token", "create", "all", "--all-caches", "--scope", "admin"], "")["token"].clone();
    let token = Credentials::Bearer(token.as_str().unwrap().to_owned());
    let send = async |method: Method, path: &str, body: Value| -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", server.url());
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let reply = server.http().call(method, &url, &token, &[], body).await.unwrap();
        (reply.status.as_u16(), serde_json::from_str(&reply.text()).unwrap())
    };
    let (status, members) = send(Method::PUT, "caches/main/members/bob", json!({ "role": "pusher" })).await;
    assert_eq!((status, &members["members"][0]["role"]), (200, &json!("pusher")));
    assert_eq!(send(Method::PUT, "caches/main/members/eve", json!({ "role": "pusher" })).await.0, 400);
    assert_eq!(send(Method::PUT, "caches/main/members/bob", json!({ "role": "king" })).await.0, 400);
    assert_eq!(send(Method::GET, "caches/main/members", Value::Null).await.1, members);
    let (_, made) = send(Method::POST, "caches/main/invitations", json!({ "role": "viewer", "note": "Carol" })).await;
    assert!(made["link"].as_str().unwrap().contains("/invite/"));
    let (_, listed) = send(Method::GET, "caches/main/members", Value::Null).await;
    let id = &listed["invitations"][0]["id"];
    assert_eq!(send(Method::DELETE, &format!("invitations/{id}"), Value::Null).await.0, 200);
    assert_eq!(send(Method::DELETE, &format!("invitations/{id}"), Value::Null).await.0, 404);
    assert_eq!(send(Method::DELETE, "caches/main/members/bob", Value::Null).await.0, 200);
    assert_eq!(send(Method::POST, "invitations", json!({ "note": "Dora" })).await.0, 200);

    let (_, users) = send(Method::PATCH, "users/bob", json!({ "is_disabled": true })).await;
    assert!(users["users"][1]["disabled_at"].is_number(), "{users}");
    assert!(send(Method::POST, "users/bob/password-link", Value::Null).await.1["link"].is_string());
    assert_eq!(send(Method::PATCH, "users/ada", json!({ "is_admin": false })).await.0, 409);
    assert_eq!(send(Method::DELETE, "users/bob", Value::Null).await.0, 200);
    assert_eq!(send(Method::GET, "users", Value::Null).await.1["users"].as_array().unwrap().len(), 1);

    let create = json!({ "name": "ci", "cache": "main", "scope": "push", "expires_at": null });
    let (_, made) = send(Method::POST, "tokens", create).await;
    let made = Credentials::Bearer(made["token"].as_str().unwrap().to_owned());
    let url = format!("{}/api/v1/caches/main", server.url());
    assert_eq!(server.http().call(Method::GET, &url, &made, &[], Bytes::new()).await.unwrap().status, 200);
    let (_, tokens) = send(Method::GET, "tokens", Value::Null).await;
    let row = tokens.as_array().unwrap().iter().find(|row| row["name"] == "ci").unwrap();
    assert_eq!((&row["owner"], &row["made_by"]), (&Value::Null, &json!("token all")));
    assert_eq!(send(Method::DELETE, &format!("tokens/{}", row["id"]), Value::Null).await.0, 200);
    assert_eq!(server.http().call(Method::GET, &url, &made, &[], Bytes::new()).await.unwrap().status, 401);
    let (_, audit) = send(Method::GET, "caches/main/audit?search=token.revoke", Value::Null).await;
    assert_eq!((&audit["rows"][0]["object"], &audit["rows"][0]["actor"]), (&json!("ci"), &json!("token all")));
    assert_eq!(audit["rows"][0]["address"], "127.0.0.1");

    // The same at the command line.
    assert_eq!(admin(&["user", "list"], "")["users"].as_array().unwrap().len(), 1);
    assert!(admin(&["user", "invite", "Eve", "--admin"], "")["link"].is_string());
    admin(&["user", "create", "eve", "--password-stdin"], "a long password");
    assert_eq!(admin(&["member", "set", "main", "eve", "owner"], "")["members"][0]["role"], "owner");
    assert!(admin(&["member", "invite", "main", "viewer", "Finn"], "")["link"].is_string());
    assert_eq!(admin(&["member", "remove", "main", "eve"], "")["members"], json!([]));
    assert!(admin(&["user", "set", "eve", "--disabled", "true"], "")["users"][1]["disabled_at"].is_number());
    assert!(admin(&["user", "password-link", "eve"], "")["link"].is_string());
    assert!(server.admin(&["user", "remove", "ada", "--yes"], "").is_err(), "the last administrator");
    admin(&["user", "remove", "eve", "--yes"], "");
    let tokens = admin(&["token", "list"], "")["tokens"].clone();
    let live = tokens.as_array().unwrap().iter().find(|token| token["name"] == "all").unwrap()["id"].to_string();
    admin(&["token", "revoke", &live], "");
    assert!(server.admin(&["token", "revoke", &live], "").is_err(), "it is revoked");
}
