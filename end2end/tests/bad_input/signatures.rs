//! Sig lines that are none, too many of them, and such as other bytes or other paths would need.

use base64::Engine as _;

use crate::probe::Memory;
use crate::{Door, door, refused_narinfo, small};
use iglu_end2end::digest::Random;
use iglu_end2end::put::{Draft, Narinfo};
use nix_compat::signing::SigningKey;

fn sig(name: &str, seed: u64) -> String {
    format!("{name}:{}", base64::engine::general_purpose::STANDARD.encode(Random::new(seed).bytes(64)))
}

async fn put(door: &Door, draft: &Draft, sigs: &[String]) -> http::StatusCode {
    let narinfo = sigs.iter().fold(draft.narinfo.clone(), |narinfo, sig| narinfo.and("Sig", sig));
    door.putter.put_narinfo(draft, &narinfo).await.unwrap().status
}

async fn served(door: &Door, draft: &Draft) -> Narinfo {
    door.putter.narinfo(draft.hash()).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_signatures_are_left_out() {
    let door = door().await;
    let good = sig("builder-1", 1);
    let value = good.split_once(':').unwrap().1;
    let malformed = [
        String::new(),
        " ".to_owned(),
        ":".to_owned(),
        "builder".to_owned(),
        "builder:".to_owned(),
        format!(":{value}"),
        value.to_owned(),
        "builder:AAAA".to_owned(),
        "builder:=".to_owned(),
        format!("builder:{}", "*".repeat(88)),
        format!("builder:{value}AAAA"),
        format!("builder:{}", &value[..80]),
        format!("builder:{}", value.replace('=', "!")),
        format!("builder: {value}"),
        format!("two words:{value}"),
        format!("a:b:{value}"),
        format!("builder:{value}:more"),
        format!("builder:{}", value.repeat(1000)),
        format!("builder:{}", "A".repeat(1_000_000)),
        "\"quoted\":AAAA".to_owned(),
    ];
    let draft = Draft::new("malformed", 1, small(1), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let memory = Memory::watch(&door.server);
    let mut all = malformed.to_vec();
    all.push(good.clone());
    all.push(good.clone());
    assert!(put(&door, &draft, &all).await.is_success());
    let narinfo = served(&door, &draft).await;
    assert_eq!(narinfo.all("Sig").len(), 2, "{narinfo:?}");
    assert!(narinfo.all("Sig").contains(&good.as_str()));
    // Ten thousand of them.
    let draft = Draft::new("malformed", 2, small(2), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let many: Vec<String> = malformed[..17].iter().cycle().take(10_000).cloned().collect();
    // So many may be left out, or be too many.
    let status = put(&door, &draft, &many).await;
    assert!(status.is_success() || status == 400, "{status}");
    if status.is_success() {
        assert_eq!(served(&door, &draft).await.all("Sig").len(), 1);
    } else {
        door.has_not(draft.hash(), "ten thousand malformed signatures").await;
    }
    memory.must_be_flat(&door.server, "malformed signatures");
    // Control characters belong into no line of a narinfo.
    for (seed, odd) in ["a\u{1}b", "a\u{7f}", "a\r", "a\tb", "\u{1b}[31m", "\u{e9}"].into_iter().enumerate() {
        let draft = Draft::new("control", seed as u64, small(seed as u64), "none", &[]).await.unwrap();
        assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
        let narinfo = draft.narinfo.clone().and("Sig", &format!("{odd}:{value}"));
        refused_narinfo(&door, &draft, &narinfo, &format!("signature by {odd:?}")).await;
    }
    door.is_calm("malformed signatures").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_do_not_pile_up() {
    let door = door().await;
    let longest = 64 * 1024;
    let strangers = |range: std::ops::Range<u64>| -> Vec<String> { range.map(|n| sig(&format!("k{n}"), n)).collect() };
    let draft = Draft::new("pile", 1, small(1), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let status = put(&door, &draft, &strangers(0..10_000)).await;
    assert!(status.is_success() || status == 400, "{status}");
    if status.is_success() {
        for round in 1..4 {
            assert!(put(&door, &draft, &strangers(round * 10_000..round * 10_000 + 50)).await.is_success());
        }
        let narinfo = served(&door, &draft).await;
        let own = door.key.split_once(':').unwrap().0;
        assert!(narinfo.all("Sig").iter().any(|sig| sig.starts_with(&format!("{own}:"))), "the own one is lost");
        assert!(narinfo.text().len() < longest, "every reader gets {} bytes", narinfo.text().len());
    }
    // One whose key has a name without end.
    let draft = Draft::new("pile", 2, small(2), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&draft).await.unwrap().status.is_success());
    let status = put(&door, &draft, &[sig(&"k".repeat(4_000_000), 1)]).await;
    assert!(status.is_success() || status == 400, "{status}");
    if status.is_success() {
        let narinfo = served(&door, &draft).await;
        assert!(narinfo.text().len() < longest, "every reader gets {} bytes", narinfo.text().len());
    }
    door.is_calm("many signatures").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_something_else() {
    let door = door().await;
    let own = door.key.split_once(':').unwrap().0.to_owned();
    let draft = Draft::new("first", 1, small(1), "none", &[]).await.unwrap();
    door.putter.push(&draft).await.unwrap();
    let honest = served(&door, &draft).await;
    // The signature of one path on another.
    let other = Draft::new("second", 1, small(2), "none", &[]).await.unwrap();
    assert!(door.putter.put_file(&other).await.unwrap().status.is_success());
    refused_narinfo(&door, &other, &other.narinfo.clone().and("Sig", honest.get("Sig").unwrap()), "borrowed").await;
    // Forged on a path that is there already: nothing is added, whatever the answer.
    let forged = SigningKey::from_seed(&own, [8; 32]).unwrap().sign(&draft.fingerprint()).to_string();
    put(&door, &draft, &[forged]).await;
    assert_eq!(served(&door, &draft).await, honest);
    // What a stranger signed of another name, other references or another size does not get to the path that is there.
    let stranger = SigningKey::from_seed("builder-1", [7; 32]).unwrap();
    let path = format!("{}-second-name", &draft.path[..43]);
    let renamed = Draft::of(path, draft.nar.clone(), draft.file.clone(), "none", &[]);
    put(&door, &renamed, &[stranger.sign(&renamed.fingerprint()).to_string()]).await;
    assert_eq!(served(&door, &draft).await, honest);
    let mut referring = draft.clone();
    let reference = format!("{}-second", other.hash());
    referring.narinfo = referring.narinfo.with("References", &reference);
    put(&door, &referring, &[stranger.sign(&referring.fingerprint()).to_string()]).await;
    assert_eq!(served(&door, &draft).await, honest);
    // Of the path itself it does.
    let sig = stranger.sign(&draft.fingerprint()).to_string();
    put(&door, &draft, std::slice::from_ref(&sig)).await;
    assert!(served(&door, &draft).await.all("Sig").contains(&sig.as_str()));
    door.is_calm("signatures of something else").await;
}
