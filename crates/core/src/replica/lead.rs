//! Which server does the work that is done once: the one that holds a lock of the database. How long it has done so, and whether the clocks
//! of server and database agree.

use super::WORK;
use crate::{Core, Error, clock::started_ahead, db::Candidacy, reconcile::Reconciler, storage::SETTLED};
use iglu_api::{event::LiveEvent, work::Work};
use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How often the lock of the leader is asked for, or looked at.
const LEADING: Duration = Duration::from_secs(1);
/// How often the leader writes down how its work goes.
const REPORT: Duration = Duration::from_secs(5);
/// How long that may take: who waits for it does not look at the lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the clocks of server and database may differ by, in milliseconds. Leases are minutes long, and begin at one server and end at another.
const SKEW: i64 = 20_000;
/// How often it is said that they differ by more.
const REMIND: Duration = Duration::from_secs(600);

/// The time of a server as the leader.
#[derive(Debug)]
pub(super) struct Term {
    since: Instant,
    /// Whether it has done what a leader does first.
    is_begun: bool,
}

impl Core {
    /// How long this server has led without a break. `None` where it does not, or where there is nobody to lead.
    pub(crate) fn leads_for(&self) -> Option<Duration> {
        let term = self.replicas.term.lock().unwrap_or_else(PoisonError::into_inner);
        term.as_ref().map(|term| term.since.elapsed())
    }

    /// Whether this is the first time that is asked since this server leads.
    pub(crate) fn leads_anew(&self) -> bool {
        let mut term = self.replicas.term.lock().unwrap_or_else(PoisonError::into_inner);
        term.as_mut().is_some_and(|term| !std::mem::replace(&mut term.is_begun, true))
    }

    fn set_leads(&self, leads: bool) -> bool {
        let term = leads.then(|| Term { since: Instant::now(), is_begun: false });
        *self.replicas.term.lock().unwrap_or_else(PoisonError::into_inner) = term;
        self.replicas.leads.send_replace(leads)
    }
}

/// Leads whenever nobody else does.
pub(super) async fn lead(core: Core, mut stopping: watch::Receiver<bool>) {
    loop {
        let mut candidacy = None;
        tokio::select! {
            () = stand(&core, &mut candidacy) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        if core.set_leads(false) {
            tracing::info!("this server no longer does the work that is done once");
        }
        if *stopping.borrow() {
            if let Some(candidacy) = candidacy {
                candidacy.end().await;
            }
            return;
        }
        drop(candidacy);
        tokio::time::sleep(LEADING).await;
    }
}

/// Returns when the connection broke.
async fn stand(core: &Core, candidacy: &mut Option<Candidacy>) {
    let Ok(Some(standing)) = core.db.candidacy().await else { return };
    let standing = candidacy.insert(standing);
    let mut reported = (Instant::now(), String::new());
    let (mut is_settled, mut reminded) = (false, None);
    loop {
        if let Err(error) = step(core, standing, &mut reminded).await {
            tracing::debug!(%error, "the lock of the leading server is out of reach");
            return;
        }
        let led = core.leads_for();
        if led.is_some_and(|led| led > SETTLED) && !is_settled {
            is_settled = true;
            core.work.wake(Reconciler::Files);
        }
        if led.is_some() && reported.0.elapsed() > REPORT {
            let work: Vec<Work> = core.work_list().into_iter().filter(|work| work.is_common).collect();
            let json = serde_json::to_string(&work).unwrap_or_default();
            if json != reported.1 {
                match tokio::time::timeout(PATIENCE, core.db.setting_put(WORK, &json)).await {
                    Ok(Ok(())) => {
                        core.say(super::News::Event(LiveEvent::WorkChanged));
                        reported.1 = json;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "what the leading server does was not written down"),
                    // The lock has a connection of its own, which is asked in a second.
                    Err(_) => tracing::debug!("what the leading server does was not written down in time"),
                }
            }
            reported.0 = Instant::now();
        }
        tokio::time::sleep(LEADING).await;
    }
}

/// Looks at the lock, or asks for it, and compares the clocks.
async fn step(core: &Core, standing: &mut Candidacy, reminded: &mut Option<Instant>) -> crate::Result<()> {
    let there = standing.hold().await?;
    // A process that was told to be ahead plays a day on which the database's clock is ahead too.
    let skew = core.now().0 - started_ahead() - there;
    metrics::gauge!("iglu_clock_skew_seconds").set(skew as f64 / 1000.0);
    if skew.abs() > SKEW {
        if reminded.is_none_or(|at| at.elapsed() > REMIND) {
            *reminded = Some(Instant::now());
            tracing::warn!(
                seconds = skew / 1000,
                "this server's clock and that of the database differ: it leaves the work that is done once to others, for what is kept \
                 for a time would go too early or too late. Set both by NTP"
            );
        }
        // Whoever leads lets go of the lock with the connection.
        return if core.is_leader() { Err(Error::internal("the clock is wrong")) } else { Ok(()) };
    }
    if !core.is_leader() && standing.try_lead().await? {
        tracing::info!("this server does the work that is done once");
        core.set_leads(true);
        Reconciler::ALL.into_iter().for_each(|work| core.work.wake(work));
    }
    Ok(())
}
