//! What starts runs by the clock: schedules, and looks for new commits. A look is a run that its node gives up where the commit is an
//! old one: nothing but nodes ever talks to a repository.

use crate::{
    Core,
    builder::spec_of,
    db::BuilderFound,
    error::{Error, Result},
    failpoint,
    run::Asked,
};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use iglu_api::{
    Timestamp,
    builder::{BuilderSpec, Schedule},
    run::Trigger,
};
use std::str::FromStr;

/// A schedule that was read.
struct Moments {
    cron: Cron,
    zone: Tz,
}

impl Moments {
    fn parse(schedule: &Schedule) -> Result<Moments> {
        let wrong = |message: String| Error::invalid("cron", message);
        if schedule.cron.split_whitespace().count() != 5 {
            return Err(wrong("a schedule has five fields: minute, hour, day, month, day of the week".to_owned()));
        }
        let cron = Cron::from_str(schedule.cron.trim()).map_err(|error| wrong(error.to_string()))?;
        let zone = match schedule.time_zone.trim() {
            "" => Tz::UTC,
            name => Tz::from_str(name).map_err(|_| {
                Error::invalid(
                    "time_zone",
                    format!("\"{}\" is no time zone, such as Europe/Berlin", name.escape_default()),
                )
            })?,
        };
        Ok(Moments { cron, zone })
    }

    /// The first moment behind this one; `None` where there is none for years.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let now = DateTime::<Utc>::from_timestamp_millis(now.0)?.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&now, false).ok()?;
        Some(Timestamp(next.timestamp_millis()))
    }
}

/// When a builder is due by its schedule, and for a look; `None` for what it does not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub schedule_at: Option<i64>,
    pub poll_at: Option<i64>,
}

impl Due {
    /// Behind this moment.
    pub fn after(spec: &BuilderSpec, is_enabled: bool, now: Timestamp) -> Due {
        if !is_enabled {
            return Due::default();
        }
        let schedule = spec.triggers.schedule.as_ref();
        Due {
            schedule_at: schedule.and_then(|schedule| Some(Moments::parse(schedule).ok()?.next(now)?.0)),
            poll_at: spec.triggers.poll_minutes.map(|minutes| now.plus(i64::from(minutes) * Timestamp::MINUTE).0),
        }
    }
}

/// Refuses triggers that never start anything, with the reason.
pub(crate) fn check(spec: &BuilderSpec, now: Timestamp) -> Result<()> {
    if let Some(schedule) = &spec.triggers.schedule
        && Moments::parse(schedule)?.next(now).is_none()
    {
        let message = format!("\"{}\" names no moment of the next years", schedule.cron.escape_default());
        return Err(Error::invalid("cron", message));
    }
    match spec.triggers.poll_minutes {
        Some(minutes) if !(1..=7 * 24 * 60).contains(&minutes) => {
            Err(Error::invalid("poll_minutes", "new commits are looked for every 1 to 10080 minutes"))
        }
        _ => Ok(()),
    }
}

impl Core {
    /// Queues the runs that are due. How many.
    pub(crate) async fn triggers_fire(&self) -> Result<usize> {
        let now = self.now();
        let mut fired = 0;
        for found in self.db.builder_list_due(now.0).await? {
            let Ok(spec) = spec_of(&found) else {
                // A newer server may have written it, and will lead before long.
                tracing::warn!(builder = found.name, "a builder that is due cannot be read by this version");
                continue;
            };
            for (trigger, due) in [(Trigger::Schedule, found.schedule_at), (Trigger::Poll, found.poll_at)] {
                let Some(due) = due.filter(|due| *due <= now.0) else { continue };
                // Whoever led before may have queued it and not come to say so.
                if !self.db.run_is_since(found.id, trigger.as_str(), due).await? {
                    fired += usize::from(self.trigger_fire(&found, &spec, trigger).await?);
                }
            }
            failpoint::reach("trigger.queued");
            // Behind now and not behind what was due: what a server that was away has missed is made up for once.
            let next = Due::after(&spec, found.is_enabled, now);
            let next = Due {
                schedule_at: if found.schedule_at.is_some_and(|at| at <= now.0) {
                    next.schedule_at
                } else {
                    found.schedule_at
                },
                poll_at: if found.poll_at.is_some_and(|at| at <= now.0) { next.poll_at } else { found.poll_at },
            };
            self.db.builder_set_due(found.id, found.revision, next).await?;
        }
        Ok(fired)
    }

    async fn trigger_fire(&self, found: &BuilderFound, spec: &BuilderSpec, trigger: Trigger) -> Result<bool> {
        let asked = Asked {
            trigger,
            by: trigger.as_str().to_owned(),
            reference: &spec.reference,
            commit: None,
            priority: 0,
            // One that still waits is the same.
            dedupe: Some(trigger.as_str().to_owned()),
        };
        Ok(self.run().insert(found.id, spec, &asked, None).await?.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, zone: &str, now: i64) -> Option<String> {
        let schedule = Schedule { cron: cron.to_owned(), time_zone: zone.to_owned() };
        Some(Moments::parse(&schedule).ok()?.next(Timestamp(now))?.to_string())
    }

    #[test]
    fn moments_are_those_of_the_time_zone() {
        // 2026-03-28T12:00:00Z, the day before clocks go forward in Berlin.
        let now = 1_774_699_200_000;
        assert_eq!(next("30 9 * * *", "", now).as_deref(), Some("2026-03-29T09:30:00Z"));
        assert_eq!(next("30 9 * * *", "Europe/Berlin", now).as_deref(), Some("2026-03-29T07:30:00Z"));
        assert_eq!(next("*/5 * * * *", "Asia/Kolkata", now).as_deref(), Some("2026-03-28T12:05:00Z"));
        assert_eq!(next("0 6 * * MON", "", now).as_deref(), Some("2026-03-30T06:00:00Z"));
        assert_eq!(next("0 0 31 2 *", "", now), None);
        for wrong in ["", "* * * *", "* * * * * *", "61 * * * *", "@reboot", "a b c d e"] {
            assert_eq!(next(wrong, "", now), None, "{wrong}");
        }
        assert_eq!(next("* * * * *", "Mars/Olympus", now), None);
    }
}
