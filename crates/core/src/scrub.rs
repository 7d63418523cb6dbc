//! The scrubber: reads every NAR file again, as fast as it may and no faster, so that damage is found before somebody needs the file.

use crate::{Core, error::Result, reconcile::Reconciler};
use iglu_api::{Timestamp, format};
use std::time::{Duration, Instant};

/// The last NAR that was read, and when the round over all of them began.
const AFTER: &str = "scrub_after";
const BEGAN: &str = "scrub_began_at";
/// One round a week is enough, in milliseconds.
const ROUND: i64 = 7 * Timestamp::DAY;
/// How long one run may take.
const RUN: Duration = Duration::from_secs(55);

/// Reads on where the last run stopped. What it found, in words.
pub(crate) async fn some(core: &Core) -> Result<String> {
    let Some(rate) = core.limits.scrub_bytes_per_second.filter(|rate| *rate > 0) else { return Ok(String::new()) };
    core.storage_require().await?;
    let number =
        async |name| Ok::<_, crate::Error>(core.db.setting(name).await?.and_then(|text| text.parse::<i64>().ok()));
    let mut after = number(AFTER).await?.unwrap_or(0);
    if after == 0 {
        if number(BEGAN).await?.is_some_and(|began| began > core.now().0 - ROUND) {
            return Ok(String::new());
        }
        core.db.setting_put(BEGAN, &core.now().0.to_string()).await?;
    }
    let all = core.db.nar_count().await?;
    let started = Instant::now();
    let (mut files, mut bytes, mut damaged) = (0_u64, 0_u64, 0_u64);
    while started.elapsed() < RUN {
        let Some(nar) = core.db.nar_page(after, 1).await?.pop() else {
            after = 0;
            break;
        };
        match (core.nar_look(&nar, true).await?, nar.damaged_at) {
            (Some(why), None) => {
                core.storage_require().await?;
                damaged += 1;
                core.nar_damaged(&nar.hash()?, &why).await?;
            }
            // A disk that could not be read may have come to itself.
            (None, Some(_)) => {
                core.nar_whole(&nar).await?;
            }
            _ => {}
        }
        after = nar.id;
        files += 1;
        bytes += nar.file_size.unsigned_abs();
        core.work.progress(Reconciler::Scrub, files, all);
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
    }
    core.db.setting_put(AFTER, &after.to_string()).await?;
    metrics::counter!("iglu_scrubbed_bytes_total").increment(bytes);
    Ok(format!("read {files} files, {}; {damaged} damaged", format::bytes(bytes)))
}
