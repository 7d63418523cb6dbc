//! Which requests are broken, and how. Pure: decides and counts.

use std::time::Duration;

use http::Method;

use crate::digest::Random;

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing; later rules are looked at. For counting.
    Pass,
    /// The request is read and answered here, with S3's error document; the server hears nothing of it. Status 200 is how S3
    /// reports that completing an upload, or copying, failed after the answer had begun.
    Answer {
        /// The status line's code.
        status: u16,
        /// S3's word for the error.
        code: &'static str,
    },
    /// The server hears of the request so much later.
    Delay(Duration),
    /// The connection is closed after so many bytes of the answer's body. A shorter body is not broken.
    CutAnswer(u64),
    /// The server and the client are left after so many bytes of the request's body. A shorter body is not broken.
    CutRequest(u64),
    /// The connection is reset as soon as the head of the request is here; the server hears nothing of it.
    Reset,
    /// The server does all that it is asked to; its answer is thrown away, and the connection closed.
    Swallow,
    /// Nothing happens for so long; then the connection is closed. The server hears nothing of it.
    Hang(Duration),
}

impl Fault {
    /// 503: too many requests.
    pub const SLOW_DOWN: Self = Self::Answer { status: 503, code: "SlowDown" };
    /// 500.
    pub const INTERNAL_ERROR: Self = Self::Answer { status: 500, code: "InternalError" };
    /// 403: the key may not do this.
    pub const ACCESS_DENIED: Self = Self::Answer { status: 403, code: "AccessDenied" };
    /// 403: there is no such key, or no longer.
    pub const INVALID_ACCESS_KEY_ID: Self = Self::Answer { status: 403, code: "InvalidAccessKeyId" };
}

/// A fault, and the requests that it is for: all, until something is asked of them.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    method: Option<Method>,
    target: Option<String>,
    skip: u64,
    times: Option<u64>,
    chance: f64,
}

impl Rule {
    /// Breaks every request.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, target: None, skip: 0, times: None, chance: 1.0 }
    }

    /// Only requests with this method.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests whose path or query contains this, in the encoding of the request: `uploads=`, `/nar/`.
    pub fn target(mut self, part: &str) -> Self {
        self.target = Some(part.to_owned());
        self
    }

    /// Not the first so many of them.
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Then only so many.
    pub fn times(mut self, requests: u64) -> Self {
        self.times = Some(requests);
        self
    }

    /// Of those only this share, from 0 to 1. Which ones is the same in each run.
    pub fn chance(mut self, share: f64) -> Self {
        self.chance = share;
        self
    }

    fn matches(&self, method: &Method, target: &str) -> bool {
        self.method.as_ref().is_none_or(|own| own == method)
            && self.target.as_ref().is_none_or(|part| target.contains(part.as_str()))
    }
}

/// Names a rule of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(usize);

/// What a rule has met with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests with its method and path that no rule before it broke.
    pub matched: u64,
    /// Those of them that it broke, or let pass as [`Fault::Pass`].
    pub fired: u64,
}

/// All rules of a proxy, in the order in which they are looked at.
#[derive(Debug)]
pub(super) struct Rules {
    // Removed rules keep their place, which is their id.
    rules: Vec<(Option<Rule>, Count)>,
    requests: u64,
    random: Random,
}

impl Default for Rules {
    fn default() -> Self {
        Self { rules: Vec::new(), requests: 0, random: Random::new(1) }
    }
}

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) -> RuleId {
        self.rules.push((Some(rule), Count::default()));
        RuleId(self.rules.len() - 1)
    }

    pub(super) fn remove(&mut self, id: RuleId) {
        if let Some((rule, _)) = self.rules.get_mut(id.0) {
            *rule = None;
        }
    }

    pub(super) fn clear(&mut self) {
        self.rules.iter_mut().for_each(|(rule, _)| *rule = None);
    }

    pub(super) fn count(&self, id: RuleId) -> Count {
        self.rules.get(id.0).map(|(_, count)| *count).unwrap_or_default()
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    /// The fault of the first rule that breaks a request, and [`Fault::Pass`] where none does.
    pub(super) fn fault(&mut self, method: &Method, target: &str) -> Fault {
        self.requests += 1;
        for (rule, count) in &mut self.rules {
            let Some(rule) = rule.as_ref().filter(|rule| rule.matches(method, target)) else { continue };
            count.matched += 1;
            // The upper 53 bits are what a float holds exactly.
            let share = (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            if count.matched <= rule.skip
                || rule.times.is_some_and(|times| count.fired >= times)
                || share >= rule.chance
            {
                continue;
            }
            count.fired += 1;
            if rule.fault != Fault::Pass {
                return rule.fault.clone();
            }
        }
        Fault::Pass
    }
}
