//! The bindings of a topic exchange, as a trie over the words of their patterns.
//!
//! A word is what stands between dots. In a pattern `*` stands for one word and `#` for any number of them, none too. The
//! empty key has no words; `.` has two, which are empty.
//!
//! A key is matched word by word against all patterns at once: the nodes that the words so far lead to are kept as a set, so a
//! pattern with many `#` costs no more than others. Bounds: a key has at most 255 octets, thus 256 words, and for each of them
//! a node is looked at once at most. Nothing calls itself.

use std::collections::HashMap;
use std::mem;

use slab::Slab;

use super::targets::{Found, Target, Targets};

type NodeId = usize;

#[derive(Debug)]
pub(super) struct Topics {
    nodes: Slab<Node>,
    root: NodeId,
    /// Counts the words that were ever looked at, so that a node knows whether it was reached for this one.
    step: u64,
    /// The nodes reached with the words up to this one, and with those before it. Kept for their memory.
    reached: Vec<NodeId>,
    left: Vec<NodeId>,
}

#[derive(Debug, Default)]
struct Node {
    words: HashMap<Box<str>, NodeId>,
    /// Behind `*`.
    one: Option<NodeId>,
    /// Behind `#`.
    many: Option<NodeId>,
    /// Whether this node stands behind a `#`, which swallows further words.
    is_many: bool,
    /// Those bound with the pattern that ends here.
    targets: Targets,
    /// The last step that reached it.
    step: u64,
}

impl Node {
    fn child(&self, word: &str) -> Option<NodeId> {
        match word {
            "*" => self.one,
            "#" => self.many,
            word => self.words.get(word).copied(),
        }
    }

    fn set_child(&mut self, word: &str, child: NodeId) {
        match word {
            "*" => self.one = Some(child),
            "#" => self.many = Some(child),
            word => {
                self.words.insert(word.into(), child);
            }
        }
    }

    fn remove_child(&mut self, word: &str) {
        match word {
            "*" => self.one = None,
            "#" => self.many = None,
            word => {
                self.words.remove(word);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.targets.is_empty()
            && self.words.is_empty()
            && self.one.is_none()
            && self.many.is_none()
    }
}

fn words(key: &str) -> impl Iterator<Item = &str> {
    let count_max = if key.is_empty() { 0 } else { usize::MAX };
    key.split('.').take(count_max)
}

impl Topics {
    pub fn new() -> Self {
        let mut nodes = Slab::new();
        let root = nodes.insert(Node::default());
        Self {
            nodes,
            root,
            step: 0,
            reached: Vec::new(),
            left: Vec::new(),
        }
    }

    pub fn insert(&mut self, pattern: &str, target: Target) {
        let mut at = self.root;
        for word in words(pattern) {
            let Some(node) = self.nodes.get(at) else {
                return;
            };
            at = match node.child(word) {
                Some(child) => child,
                None => self.add_child(at, word),
            };
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.targets.insert(target);
        }
    }

    fn add_child(&mut self, parent: NodeId, word: &str) -> NodeId {
        let child = self.nodes.insert(Node {
            is_many: word == "#",
            ..Node::default()
        });
        if let Some(node) = self.nodes.get_mut(parent) {
            node.set_child(word, child);
        }
        child
    }

    /// Takes a target out, and the nodes that led to nothing else.
    pub fn remove(&mut self, pattern: &str, target: Target) {
        let mut path = Vec::new();
        let mut at = self.root;
        for word in words(pattern) {
            path.push((at, word));
            let Some(child) = self.nodes.get(at).and_then(|node| node.child(word)) else {
                return;
            };
            at = child;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.targets.remove(target);
        }
        while let Some((parent, word)) = path.pop()
            && self.nodes.get(at).is_some_and(Node::is_empty)
        {
            self.nodes.try_remove(at);
            if let Some(node) = self.nodes.get_mut(parent) {
                node.remove_child(word);
            }
            at = parent;
        }
    }

    pub fn route(&mut self, key: &str, found: &mut Found<'_>) {
        self.next_step();
        self.reach(self.root);
        for word in words(key) {
            self.next_step();
            let left = mem::take(&mut self.left);
            for &at in &left {
                self.follow(at, word);
            }
            self.left = left;
        }
        for &at in &self.reached {
            if let Some(node) = self.nodes.get(at) {
                found.add_all(&node.targets);
            }
        }
    }

    fn next_step(&mut self) {
        self.step += 1;
        mem::swap(&mut self.reached, &mut self.left);
        self.reached.clear();
    }

    /// Goes from a node to wherever a word leads.
    fn follow(&mut self, at: NodeId, word: &str) {
        let Some(node) = self.nodes.get(at) else {
            return;
        };
        let stay = node.is_many.then_some(at);
        let ways = [stay, node.one, node.words.get(word).copied()];
        for next in ways.into_iter().flatten() {
            self.reach(next);
        }
    }

    /// Adds a node, and those behind `#`, for which no word is needed.
    fn reach(&mut self, at: NodeId) {
        let mut next = Some(at);
        while let Some(at) = next {
            let Some(node) = self.nodes.get_mut(at) else {
                return;
            };
            if mem::replace(&mut node.step, self.step) == self.step {
                return;
            }
            self.reached.push(at);
            next = node.many;
        }
    }
}

#[cfg(test)]
impl Topics {
    /// Whether nothing is left but the root.
    pub fn is_bare(&self) -> bool {
        self.nodes.len() == 1 && self.nodes.get(self.root).is_some_and(Node::is_empty)
    }
}
