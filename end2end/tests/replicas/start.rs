//! Servers whose surroundings are not there yet, or are wrong: each waits or ends with one line that says why, and what to do.

use std::process::Output;
use std::time::Duration;

use iglu_end2end::load::until;
use iglu_end2end::postgres::Postgres;
use iglu_end2end::server::{Server, Setup, free_port};

/// `/ready` or `/live`: status and text; 0 where nothing answers.
async fn probe(server: &Server, name: &str) -> (u16, String) {
    let reply = server.http().get(&format!("{}/{name}", server.ops_url())).await;
    reply.map_or((0, String::new()), |reply| (reply.status.as_u16(), reply.text()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_comes_later_is_waited_for() {
    let mut postgres = Postgres::start().unwrap();
    let setup = Setup::default().with_environment("IGLU_DATABASE_URL", &postgres.url());
    let mut server = setup.start_alone().await.unwrap();
    server.kill().unwrap();
    postgres.stop().unwrap();
    server.launch(&[]).unwrap();
    server.answers("live").await.unwrap();
    until("it says what it waits for", || async {
        let (status, text) = probe(&server, "ready").await;
        status == 503 && text.starts_with("starting\n") && text.contains("PostgreSQL at /")
    })
    .await;
    // Nobody's request hangs: there is no listener for them yet.
    assert!(server.http().get(&server.url()).await.is_err());
    postgres.restart().unwrap();
    until("it starts by itself", || async { probe(&server, "ready").await.0 == 200 }).await;
    // Its address is its own.
    let other = server.command(&["serve", "--listen", &server.address(), "--ops-listen", "127.0.0.1:0"]).unwrap();
    let said = ended(other);
    assert!(said.contains(&format!("listening on {}: Address already in use", server.address())), "{said}");
    // It can be told to end while it waits.
    server.kill().unwrap();
    postgres.stop().unwrap();
    server.launch(&[]).unwrap();
    server.answers("live").await.unwrap();
    server.terminate().unwrap();
    let status = tokio::time::timeout(Duration::from_secs(10), server.ended()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}

/// What a command that must fail soon says: one line.
fn ended(command: std::process::Command) -> String {
    let mut soon = std::process::Command::new("timeout");
    soon.arg("20").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        soon.env(name, value.unwrap_or_default());
    }
    let Output { status, stderr, .. } = soon.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("iglu: ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    said
}

fn serve(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(iglu_end2end::server::binary().unwrap());
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    command.args(["serve", "--listen", &listen, "--ops-listen", "127.0.0.1:0"]).args(args);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waiting_does_not_cure_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let said = ended(serve(&["--data", data, "--database-url", "mysql://here"]));
    assert!(said.contains("the URL of the database is not one"), "{said}");
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = ended(serve(&["--data", file.to_str().unwrap()]));
    assert!(said.contains("making the data folder") && said.contains(file.to_str().unwrap()), "{said}");
    let said = ended(serve(&["--data", data, "--public-url", "ftp://x"]));
    assert!(said.contains("public URL"), "{said}");
    let said = ended(serve(&["--data", data, "--storage", "gs://bucket"]));
    assert!(said.contains("neither a folder nor s3://"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_wait_for_the_operator_where_they_are_told_to() {
    let postgres = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let url = postgres.url();
    let database = ["--data", data, "--database-url", &url];
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(iglu_end2end::server::binary().unwrap());
        let output = command.args(args).args(database).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let mut server = Setup::default()
        .with_environment("IGLU_DATABASE_URL", &url)
        .with_environment("IGLU_AUTO_MIGRATE", "true")
        .start_alone()
        .await
        .unwrap();
    server.kill().unwrap();
    let fresh = Postgres::start().unwrap();
    server.set_environment("IGLU_DATABASE_URL", Some(&fresh.url()));
    server.set_environment("IGLU_AUTO_MIGRATE", Some("false"));
    server.launch(&[]).unwrap();
    server.answers("live").await.unwrap();
    until("it says what it waits for", || async { probe(&server, "ready").await.1.contains("run `iglu migrate`") })
        .await;
    let migrated = server.command(&["migrate"]).unwrap().output().unwrap();
    assert!(migrated.status.success());
    until("it goes on", || async { probe(&server, "ready").await.0 == 200 }).await;
    assert!(run(&["migrate"]).contains("Nothing was to be done"));
}
