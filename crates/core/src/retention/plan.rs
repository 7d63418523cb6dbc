//! What goes by a cache's rules, as a list in the order in which it goes: whatever is taken from its front, what is left is whole.

use super::graph::{Graph, Index};
use iglu_api::{
    Timestamp,
    retention::{Retention, Why},
};

/// Younger paths stay whatever the rules say, in milliseconds: their pusher may not be done, and pins come after pushes. Uploads
/// last as long.
pub(super) const FLOOR: i64 = Timestamp::DAY;
/// A path whose references do not come for this long goes, in milliseconds.
const INCOMPLETE: i64 = 30 * Timestamp::DAY;

/// A path that is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Going {
    pub index: Index,
    pub why: Why,
}

/// What there is and what is to go of it.
#[derive(Debug)]
pub(super) struct Plan {
    pub graph: Graph,
    /// Referrers before what they refer to.
    pub going: Vec<Going>,
    pub all_paths: u64,
    pub all_bytes: u64,
    pub pinned_paths: u64,
    pub bytes: u64,
}

impl Plan {
    /// `graph` has everything of the cache; what is pinned is marked as protected.
    pub fn by_rules(mut graph: Graph, rules: &Retention, now: Timestamp) -> Plan {
        let order = graph.age();
        let days = |days: Option<u32>| days.map(|days| now.0 - i64::from(days) * Timestamp::DAY);
        let (pushed, used) = (days(rules.pushed_days), days(rules.used_days));
        let mut why: Vec<Option<Why>> = vec![None; graph.nodes.len()];
        let mut kept = 0_u64;
        let mut left: Vec<(i64, usize, Index)> = Vec::new();
        for (position, index) in order.iter().enumerate() {
            let node = graph.nodes[*index as usize];
            if node.id == 0 {
                continue;
            }
            let by_age = if node.is_protected || node.pushed_at > now.0 - FLOOR {
                None
            } else if !node.is_visible && node.pushed_at < now.0 - INCOMPLETE {
                Some(Why::Incomplete)
            } else if pushed.is_some_and(|before| node.pushed_at < before) {
                Some(Why::Pushed)
            } else if used.is_some_and(|before| node.used_at < before) {
                Some(Why::Unused)
            } else {
                left.push((node.used_at, position, *index));
                None
            };
            why[*index as usize] = by_age;
            if by_age.is_none() {
                kept += node.file_size.unsigned_abs();
            }
        }
        if let Some(most) = rules.bytes
            && kept > most
        {
            // The least recently used first; of those used together, referrers first.
            left.sort_unstable();
            for (_, _, index) in left {
                if kept <= most {
                    break;
                }
                why[index as usize] = Some(Why::Size);
                kept -= graph.nodes[index as usize].file_size.unsigned_abs();
            }
        }
        let going = order.into_iter().filter_map(|index| Some(Going { index, why: why[index as usize]? })).collect();
        Plan::of(graph, going)
    }

    /// These paths and no others, in the order given.
    pub fn of(graph: Graph, going: Vec<Going>) -> Plan {
        let present = || graph.nodes.iter().filter(|node| node.id != 0);
        let bytes = |node: &super::graph::Node| node.file_size.unsigned_abs();
        Plan {
            all_paths: present().count() as u64,
            all_bytes: present().map(bytes).sum(),
            pinned_paths: present().filter(|node| node.is_protected).count() as u64,
            bytes: going.iter().map(|going| bytes(&graph.nodes[going.index as usize])).sum(),
            graph,
            going,
        }
    }

    /// Whether nothing would be left of a cache that has something.
    pub fn takes_everything(&self) -> bool {
        self.all_paths > 0 && self.going.len() as u64 == self.all_paths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::GraphRow;

    const NOW: Timestamp = Timestamp(100 * Timestamp::DAY);

    /// Letter, references, day of the push, day of the last pull; each file has ten bytes.
    fn graph(paths: &[(char, &str, i64, Option<i64>)]) -> Graph {
        let mut graph = Graph::default();
        let name = |letter: char| letter.to_string().repeat(32);
        for (id, (letter, references, pushed, pulled)) in (1..).zip(paths) {
            let refs: Vec<String> = references.chars().map(|letter| format!("{}-x", name(letter))).collect();
            graph.add(&GraphRow {
                id,
                hash: name(*letter),
                nar_id: id,
                file_size: 10,
                refs: refs.join(" "),
                pushed_at: pushed * Timestamp::DAY,
                last_pulled_at: pulled.map(|day| day * Timestamp::DAY),
                is_visible: true,
            });
        }
        graph
    }

    fn going(plan: &Plan) -> String {
        plan.going.iter().map(|going| &plan.graph.hash(going.index)[..1]).collect()
    }

    #[test]
    fn no_rule_takes_nothing() {
        let plan = Plan::by_rules(graph(&[('a', "", 0, None)]), &Retention::default(), NOW);
        assert_eq!((going(&plan).as_str(), plan.all_paths, plan.all_bytes), ("", 1, 10));
    }

    #[test]
    fn age_since_push_and_since_use() {
        let paths = [('a', "", 1, Some(95)), ('b', "", 50, None), ('c', "", 99, None), ('d', "a", 2, None)];
        let pushed = Retention { pushed_days: Some(60), ..Retention::default() };
        assert_eq!(going(&Plan::by_rules(graph(&paths), &pushed, NOW)), "da");
        let used = Retention { used_days: Some(30), ..Retention::default() };
        // a is used, though what refers to it is not.
        let plan = Plan::by_rules(graph(&paths), &used, NOW);
        assert_eq!(going(&plan).chars().collect::<std::collections::BTreeSet<_>>(), ['b', 'd'].into());
    }

    #[test]
    fn size_takes_whole_closures_the_least_recently_used_first() {
        // Two closures that share a: x → y → a (used on day 20), p → a (used on day 90).
        let paths = [('a', "", 1, None), ('y', "a", 1, None), ('x', "y", 1, Some(20)), ('p', "a", 1, Some(90))];
        let size = |bytes| Retention { bytes: Some(bytes), ..Retention::default() };
        assert_eq!(going(&Plan::by_rules(graph(&paths), &size(40), NOW)), "");
        assert_eq!(going(&Plan::by_rules(graph(&paths), &size(30), NOW)), "x");
        assert_eq!(going(&Plan::by_rules(graph(&paths), &size(20), NOW)), "xy");
        assert_eq!(going(&Plan::by_rules(graph(&paths), &size(19), NOW)).len(), 3);
    }

    #[test]
    fn pins_and_the_young_stay() {
        let paths =
            [('a', "", 1, None), ('b', "a", 1, None), ('c', "", 1, None), ('d', "c", 100, None), ('e', "", 1, None)];
        let mut graph = graph(&paths);
        graph.protect(graph.find(&"b".repeat(32)).unwrap());
        let plan =
            Plan::by_rules(graph, &Retention { bytes: Some(0), pushed_days: Some(1), ..Retention::default() }, NOW);
        assert_eq!((going(&plan).as_str(), plan.pinned_paths), ("e", 2));
        assert!(!plan.takes_everything());
    }
}
