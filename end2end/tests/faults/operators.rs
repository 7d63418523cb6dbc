//! What operators do wrong: two servers over one folder, rules that would leave nothing.

use std::time::{Duration, Instant};

use crate::world::{By, CACHE, DAY, Item, World, said, until};
use iglu_end2end::server::{Setup, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_over_the_same_folder_ends() {
    let mut world = World::new(Setup::default()).await;
    let item = Item::new("first", 1, 1000, &[]).await;
    world.push(By::Put, &item).await;
    let address = || format!("127.0.0.1:{}", free_port().unwrap());
    let started = Instant::now();
    let second = world.server.run(&["serve", "--listen", &address(), "--ops-listen", &address()]).unwrap();
    assert!(!second.status.success() && second.status.code().is_some(), "{}", said(&second));
    assert!(started.elapsed() < Duration::from_secs(10));
    let first = format!("process {}", world.server.pid().unwrap());
    assert!(String::from_utf8_lossy(&second.stderr).contains(&first), "{}", said(&second));
    assert_eq!(world.ready().await.0, 200);
    world.push(By::Cachix, &Item::new("second", 1, 1000, &[&item]).await).await;
    world.is_whole("in the end").await;
    // The lock of a server that was killed is nobody's.
    world.again().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_would_take_everything_are_refused() {
    let mut world = World::new(Setup::default()).await;
    let (lib, app) = (Item::new("lib", 1, 1000, &[]).await, Item::new("app", 1, 1000, &[]).await);
    world.push(By::Put, &lib).await;
    world.push(By::Attic, &app).await;
    world.later(40 * DAY).await;
    let set = ["admin", "retention", "set", CACHE, "--pushed-days", "30", "--json"];
    let refused = world.server.run(&set).unwrap();
    assert!(!refused.status.success() && said(&refused).contains("all 2 paths"), "{}", said(&refused));
    assert!(world.admin(&["retention", "show", CACHE])["retention"]["pushed_days"].is_null());
    let done = world.server.run(&[&set[..], &["--yes"]].concat()).unwrap();
    assert!(done.status.success(), "{}", said(&done));

    // By hand without a word, or by the timer at a start: nothing goes.
    let refused = world.server.run(&["gc", CACHE]).unwrap();
    assert!(!refused.status.success() && said(&refused).contains("all 2 paths"), "{}", said(&refused));
    world.again().await;
    let preview = world.server.run(&["gc", CACHE, "--dry-run", "--json"]).unwrap();
    assert!(preview.status.success() && said(&preview).contains("\"paths\":2"), "{}", said(&preview));
    world.is_whole("refused").await;

    let done = world.server.run(&["gc", CACHE, "--yes", "--json"]).unwrap();
    assert!(done.status.success() && said(&done).contains("\"paths\":2"), "{}", said(&done));
    world.released(&[&lib, &app]);
    until("the server does not hear of it", || async { !world.shows(&lib).await }).await;
    world.is_whole("collected").await;
}
