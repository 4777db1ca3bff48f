//! What to keep of a computation, so that the rest can be done again: the cheapest set of values
//! from which all that is wanted can be computed. It is a minimum cut of the graph of values, as in
//! the choice of what reverse mode keeps by Chen et al. (2016) and of functorch's partitioner.

use std::collections::{BTreeSet, HashMap};

use petgraph::Direction;
use petgraph::algo::ford_fulkerson;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::ir::Value;

/// What is known of a value.
pub(crate) enum Node {
    /// It is there in any case.
    Free,
    /// It can be kept at a cost.
    Kept(u64),
    /// It can be kept at a cost, or computed of these.
    Computed(u64, Vec<Value>),
}

/// The values to keep so that `wanted` can be computed: those whose costs add up to the least, and
/// of several such sets the one nearest to what is wanted.
pub(crate) fn cheapest(wanted: &[Value], node: impl Fn(Value) -> Node) -> BTreeSet<Value> {
    const ALWAYS: u64 = u64::MAX / 1024;
    // Room from the start, as in `FuncBuilder::new`.
    let mut graph: DiGraph<Option<Value>, u64> = DiGraph::with_capacity(64, 128);
    let (source, sink) = (graph.add_node(None), graph.add_node(None));
    // Each value is an edge, from what makes it to those that use it.
    let mut edges: HashMap<Value, (NodeIndex, NodeIndex)> = HashMap::new();
    let mut to_see: Vec<(Value, NodeIndex)> = wanted.iter().map(|&value| (value, sink)).collect();
    while let Some((value, user)) = to_see.pop() {
        if let Some(&(_, made)) = edges.get(&value) {
            graph.update_edge(made, user, ALWAYS);
            continue;
        }
        let (cost, inputs) = match node(value) {
            Node::Free => continue,
            Node::Kept(cost) => (cost, None),
            Node::Computed(cost, inputs) => (cost, Some(inputs)),
        };
        let (before, made) = (graph.add_node(Some(value)), graph.add_node(None));
        graph.add_edge(before, made, cost.min(ALWAYS / 1024));
        graph.update_edge(made, user, ALWAYS);
        edges.insert(value, (before, made));
        match inputs {
            None => _ = graph.add_edge(source, before, ALWAYS),
            Some(inputs) => to_see.extend(inputs.into_iter().map(|input| (input, before))),
        }
    }

    // What the sink is reached from where there is room left lies behind the cut.
    let (_, flow) = ford_fulkerson(&graph, source, sink);
    let mut behind = BTreeSet::from([sink]);
    let mut to_see = vec![sink];
    while let Some(at) = to_see.pop() {
        let along = graph.edges_directed(at, Direction::Incoming);
        let along = along.filter(|edge| flow[edge.id().index()] < *edge.weight());
        let against = graph.edges_directed(at, Direction::Outgoing);
        let against = against.filter(|edge| flow[edge.id().index()] > 0);
        let next = along.map(|edge| edge.source()).chain(against.map(|edge| edge.target()));
        to_see.extend(next.filter(|&next| behind.insert(next)).collect::<Vec<_>>());
    }
    let cut = edges
        .iter()
        .filter(|(_, (before, made))| behind.contains(made) && !behind.contains(before));
    cut.map(|(&value, _)| value).collect()
}
