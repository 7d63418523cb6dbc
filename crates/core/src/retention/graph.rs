//! A cache's paths as a graph in memory: who refers to whom, and what follows from that for age and protection. Knows no rule.
//!
//! A path is never older than what refers to it: pushing or pulling a closure is use of all of it. So whatever goes by age goes with
//! everything that refers to it, and what stays is always whole.

use crate::db::GraphRow;
use std::collections::HashMap;

/// A path, by its place in [`Graph::nodes`].
pub(super) type Index = u32;

/// The digits of a hash part.
type Digits = [u8; 32];

/// One path. One that is only referred to has no `id`, nor has one that is damaged, whose references count all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The row; 0 where the cache has no such path.
    pub id: i64,
    pub nar_id: i64,
    pub file_size: i64,
    /// The last push of it or of what refers to it, in Unix milliseconds.
    pub pushed_at: i64,
    /// The last pull or push of it or of what refers to it.
    pub used_at: i64,
    pub is_visible: bool,
    /// Stays, and everything that it refers to.
    pub is_protected: bool,
}

const ABSENT: Node = Node {
    id: 0,
    nar_id: 0,
    file_size: 0,
    pushed_at: i64::MIN,
    used_at: i64::MIN,
    is_visible: false,
    is_protected: false,
};

#[derive(Debug, Default)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    digits: Vec<Digits>,
    by_digits: HashMap<Digits, Index>,
    /// References of node i: `references[ends[i - 1]..ends[i]]`, by `places[i]` since nodes are found in any order.
    references: Vec<Index>,
    places: Vec<(u32, u32)>,
}

impl Graph {
    /// Adds a path; what it refers to may come before or after it.
    pub fn add(&mut self, row: &GraphRow) {
        let Some(index) = row.hash.as_bytes().try_into().ok().map(|digits| self.intern(digits)) else { return };
        self.nodes[index as usize] = Node {
            id: row.id,
            nar_id: row.nar_id,
            file_size: row.file_size,
            pushed_at: row.pushed_at,
            used_at: row.last_pulled_at.unwrap_or(row.pushed_at).max(row.pushed_at),
            is_visible: row.is_visible,
            is_protected: false,
        };
        let first = self.references.len();
        for name in row.refs.split(' ') {
            let Some(digits) = name.get(..32).and_then(|hash| hash.as_bytes().try_into().ok()) else { continue };
            let reference = self.intern(digits);
            if reference != index {
                self.references.push(reference);
            }
        }
        let place = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        self.places[index as usize] = (place(first), place(self.references.len()));
    }

    fn intern(&mut self, digits: Digits) -> Index {
        *self.by_digits.entry(digits).or_insert_with(|| {
            self.nodes.push(ABSENT);
            self.digits.push(digits);
            self.places.push((0, 0));
            Index::try_from(self.nodes.len() - 1).unwrap_or(Index::MAX)
        })
    }

    pub fn find(&self, hash: &str) -> Option<Index> {
        self.by_digits.get(<&Digits>::try_from(hash.as_bytes()).ok()?).copied()
    }

    /// The hash part of a path.
    pub fn hash(&self, index: Index) -> &str {
        std::str::from_utf8(&self.digits[index as usize]).unwrap_or_default()
    }

    /// What a path refers to, itself left out.
    pub fn references(&self, index: Index) -> &[Index] {
        let (first, end) = self.places[index as usize];
        &self.references[first as usize..end as usize]
    }

    /// The rows of paths that wait for references, by the hash parts of all that they refer to.
    pub fn held_by_reference(&self) -> HashMap<String, Vec<i64>> {
        let mut held: HashMap<String, Vec<i64>> = HashMap::new();
        for (index, node) in (0..).zip(&self.nodes).filter(|(_, node)| node.id != 0 && !node.is_visible) {
            for reference in self.references(index) {
                held.entry(self.hash(*reference).to_owned()).or_default().push(node.id);
            }
        }
        held
    }

    /// Marks a path and everything behind it as to stay. What is marked already is not gone into again.
    pub fn protect(&mut self, index: Index) {
        let mut waiting = vec![index];
        while let Some(index) = waiting.pop() {
            let node = &mut self.nodes[index as usize];
            if !std::mem::replace(&mut node.is_protected, true) {
                let (first, end) = self.places[index as usize];
                waiting.extend_from_slice(&self.references[first as usize..end as usize]);
            }
        }
    }

    /// Those of the paths that others refer to which are not among them, each with one that it refers to.
    pub fn referrers_outside(&self, chosen: &std::collections::HashSet<Index>) -> Vec<(Index, Index)> {
        let present = (0..).zip(&self.nodes).filter(|(_, node)| node.id != 0 && node.is_visible);
        present
            .filter(|(index, _)| !chosen.contains(index))
            .filter_map(|(index, _)| {
                let reference = self.references(index).iter().find(|reference| chosen.contains(*reference))?;
                Some((index, *reference))
            })
            .collect()
    }

    /// For each path that others refer to, those of them that can be pulled.
    pub fn referrers(&self) -> HashMap<Index, Vec<Index>> {
        let mut referrers: HashMap<Index, Vec<Index>> = HashMap::new();
        for (index, _) in (0..).zip(&self.nodes).filter(|(_, node)| node.id != 0 && node.is_visible) {
            for reference in self.references(index) {
                referrers.entry(*reference).or_default().push(index);
            }
        }
        referrers
    }

    /// Makes every path as young as the youngest that refers to it. The order of all paths, referrers before what they refer to; paths
    /// that refer to each other in a circle stand together and share their age.
    pub fn age(&mut self) -> Vec<Index> {
        let mut components = self.components();
        components.reverse();
        for component in &components {
            let newest = |of: fn(&Node) -> i64| component.iter().map(|i| of(&self.nodes[*i as usize])).max();
            let (pushed_at, used_at) =
                (newest(|node| node.pushed_at).unwrap_or(i64::MIN), newest(|node| node.used_at).unwrap_or(i64::MIN));
            for index in component {
                let node = &mut self.nodes[*index as usize];
                (node.pushed_at, node.used_at) = (pushed_at, used_at);
                let (first, end) = self.places[*index as usize];
                for place in first..end {
                    let reference = &mut self.nodes[self.references[place as usize] as usize];
                    reference.pushed_at = reference.pushed_at.max(pushed_at);
                    reference.used_at = reference.used_at.max(used_at);
                }
            }
        }
        components.concat()
    }

    /// Strongly connected components, references first, by Tarjan's algorithm with a stack of its own: closures are deep, and whoever
    /// pushes decides how deep.
    fn components(&self) -> Vec<Vec<Index>> {
        const UNSEEN: u32 = u32::MAX;
        let count = self.nodes.len();
        let (mut order, mut low) = (vec![UNSEEN; count], vec![0_u32; count]);
        let mut is_open = vec![false; count];
        let mut open: Vec<Index> = Vec::new();
        let mut components = Vec::new();
        let mut next = 0;
        for root in 0..Index::try_from(count).unwrap_or(Index::MAX) {
            if order[root as usize] != UNSEEN {
                continue;
            }
            let mut path: Vec<(Index, usize)> = vec![(root, 0)];
            while let Some((index, position)) = path.pop() {
                let i = index as usize;
                if position == 0 {
                    (order[i], low[i]) = (next, next);
                    next += 1;
                    open.push(index);
                    is_open[i] = true;
                }
                if let Some(reference) = self.references(index).get(position) {
                    path.push((index, position + 1));
                    let r = *reference as usize;
                    if order[r] == UNSEEN {
                        path.push((*reference, 0));
                    } else if is_open[r] {
                        low[i] = low[i].min(order[r]);
                    }
                    continue;
                }
                if low[i] == order[i] {
                    let first = open.iter().rposition(|open| *open == index).unwrap_or_default();
                    let component = open.split_off(first);
                    for index in &component {
                        is_open[*index as usize] = false;
                    }
                    components.push(component);
                }
                if let Some((above, _)) = path.last() {
                    let above = *above as usize;
                    low[above] = low[above].min(low[i]);
                }
            }
        }
        components
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(letter: char) -> String {
        letter.to_string().repeat(32)
    }

    fn graph(paths: &[(char, &str, i64)]) -> Graph {
        let mut graph = Graph::default();
        for (id, (letter, references, pushed_at)) in (1..).zip(paths) {
            let refs: Vec<String> = references.chars().map(|letter| format!("{}-x", name(letter))).collect();
            graph.add(&GraphRow {
                id,
                hash: name(*letter),
                nar_id: id,
                file_size: 1,
                refs: refs.join(" "),
                pushed_at: *pushed_at,
                last_pulled_at: None,
                is_visible: true,
            });
        }
        graph
    }

    fn pushed_at(graph: &Graph, letter: char) -> i64 {
        graph.nodes[graph.find(&name(letter)).unwrap() as usize].pushed_at
    }

    #[test]
    fn a_path_is_as_young_as_its_referrers() {
        // d → c → a and b → a; z is not there.
        let mut graph = graph(&[('a', "", 1), ('b', "az", 5), ('c', "a", 2), ('d', "cd", 9)]);
        let order = graph.age();
        assert_eq!(['a', 'b', 'c', 'd'].map(|letter| pushed_at(&graph, letter)), [9, 5, 9, 9]);
        let place = |letter| order.iter().position(|index| graph.hash(*index) == name(letter)).unwrap();
        assert!(place('d') < place('c') && place('c') < place('a') && place('b') < place('a'));
        assert_eq!(order.len(), 5);
    }

    #[test]
    fn circles_share_their_age() {
        let mut graph = graph(&[('a', "b", 1), ('b', "c", 7), ('c', "ad", 2), ('d', "", 0), ('e', "", 3)]);
        graph.age();
        assert_eq!(['a', 'b', 'c', 'd', 'e'].map(|letter| pushed_at(&graph, letter)), [7, 7, 7, 7, 3]);
    }

    #[test]
    fn protection_reaches_what_is_behind() {
        let mut graph = graph(&[('a', "", 1), ('b', "a", 1), ('c', "b", 1)]);
        graph.protect(graph.find(&name('b')).unwrap());
        let protected: Vec<bool> = graph.nodes.iter().map(|node| node.is_protected).collect();
        assert_eq!(protected, [true, true, false]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let mut graph = Graph::default();
        let name = |number: usize| format!("{number:032}");
        for number in 0..200_000 {
            graph.add(&GraphRow {
                id: number as i64 + 1,
                hash: name(number),
                nar_id: 1,
                file_size: 1,
                refs: format!("{}-x", name(number + 1)),
                pushed_at: -(number as i64),
                last_pulled_at: None,
                is_visible: true,
            });
        }
        let order = graph.age();
        assert_eq!(graph.hash(order[0]), name(0));
        assert_eq!(graph.nodes.iter().map(|node| node.pushed_at).min(), Some(0));
    }
}
