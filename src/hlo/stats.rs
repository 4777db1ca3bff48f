//! Figures of a module.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::graph::{Graph, Place};
use super::proto::{HloInstructionProto, ShapeProto};
use super::trip_count::trip_count;
use super::{Module, TextOptions, flops};

/// What a module consists of and what it costs to run.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Stats {
    /// The name of the module.
    pub name: String,
    /// Computations, with those that nothing calls.
    pub computations: usize,
    /// Instructions of all computations, each counted once.
    pub instructions: usize,
    /// Instructions by opcode.
    pub opcodes: BTreeMap<String, usize>,
    /// While loops, each before the loops in its body, in the order in which they run.
    pub while_loops: Vec<WhileLoop>,
    /// Fusions, each counted once.
    pub fusions: usize,
    /// Matrix products, each counted once.
    pub dots: usize,
    /// Floating-point operations of one run in matrix products and convolutions: two for each
    /// multiplication and addition, those in loops as often as the loop runs.
    pub flops: u64,
    /// Whether `flops` counts the body of some loop once for want of its trip count.
    pub flops_are_lower_bound: bool,
    /// Bytes of all constants.
    pub constant_bytes: u64,
    /// Parameters of the entry computation.
    pub parameters: usize,
    /// Bytes of the parameters of the entry computation.
    pub parameter_bytes: u64,
    /// Bytes of the module as text, with short constants.
    pub text_bytes: u64,
    /// Bytes of the module as a protocol buffer.
    pub proto_bytes: u64,
}

/// A While loop.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WhileLoop {
    /// The name of the instruction.
    pub name: String,
    /// How many loops are around it.
    pub depth: usize,
    /// How often the body runs, where the module tells it.
    pub trip_count: Option<u64>,
    /// Instructions of the body, with those of the computations it calls.
    pub body_instructions: usize,
}

impl Stats {
    pub(super) fn of(module: &Module) -> Stats {
        let proto = module.decoded();
        let graph = Graph::new(proto);
        let mut opcodes = BTreeMap::new();
        let (mut dots, mut constant_bytes) = (0, 0u64);
        for (c, computation) in proto.computations.iter().enumerate() {
            for (i, instruction) in computation.instructions.iter().enumerate() {
                *opcodes.entry(instruction.opcode.clone()).or_insert(0) += 1;
                dots += usize::from(flops::is_dot(&graph, (c, i)));
                if instruction.opcode == "constant" {
                    constant_bytes = constant_bytes.saturating_add(bytes(instruction));
                }
            }
        }
        let mut walk = Walk::new(&graph);
        let cost = graph.entry().map_or(Cost::default(), |entry| walk.cost(entry, 0));
        let entry = module.entry().map_or(&[][..], |entry| &entry.instructions);
        let parameters = || entry.iter().filter(|i| i.opcode == "parameter");
        let text = module.text(TextOptions::default());
        Stats {
            name: module.name().to_owned(),
            computations: proto.computations.len(),
            instructions: opcodes.values().sum(),
            while_loops: walk.loops,
            fusions: opcodes.get("fusion").copied().unwrap_or(0),
            opcodes,
            dots,
            flops: cost.flops,
            flops_are_lower_bound: cost.is_lower_bound,
            constant_bytes,
            parameters: parameters().count(),
            parameter_bytes: parameters().map(bytes).fold(0, u64::saturating_add),
            text_bytes: text.map_or(0, |text| text.len() as u64),
            proto_bytes: module.proto().len() as u64,
        }
    }
}

fn bytes(instruction: &HloInstructionProto) -> u64 {
    instruction.shape.as_ref().and_then(ShapeProto::bytes).unwrap_or(0)
}

/// What a run of a computation costs.
#[derive(Clone, Copy, Default)]
struct Cost {
    flops: u64,
    /// Whether the body of some loop is counted once for want of its trip count.
    is_lower_bound: bool,
}

impl Cost {
    fn plus(self, other: Cost) -> Cost {
        Cost {
            flops: self.flops.saturating_add(other.flops),
            is_lower_bound: self.is_lower_bound || other.is_lower_bound,
        }
    }
}

/// Goes through the computations from the entry on, each once.
struct Walk<'a> {
    graph: &'a Graph<'a>,
    costs: HashMap<usize, Cost>,
    loops: Vec<WhileLoop>,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a Graph<'a>) -> Walk<'a> {
        Walk { graph, costs: HashMap::new(), loops: Vec::new() }
    }

    /// The cost of a computation that `depth` loops are around.
    fn cost(&mut self, computation: usize, depth: usize) -> Cost {
        if let Some(&cost) = self.costs.get(&computation) {
            return cost;
        }
        let count = self.graph.computation(computation).instructions.len();
        let instructions = (0..count).map(|i| (computation, i));
        let cost = instructions.fold(Cost::default(), |sum, place| {
            sum.plus(self.instruction(place, depth))
        });
        self.costs.insert(computation, cost);
        cost
    }

    fn instruction(&mut self, place: Place, depth: usize) -> Cost {
        let called = self.graph.called(place);
        let instruction = self.graph.instruction(place);
        match instruction.opcode.as_str() {
            "while" => self.while_loop(place, &called, depth),
            // The branch that costs most.
            "conditional" => called.iter().fold(Cost::default(), |most, &branch| {
                let cost = self.cost(branch, depth);
                let is_lower_bound = most.is_lower_bound || cost.is_lower_bound;
                Cost { flops: most.flops.max(cost.flops), is_lower_bound }
            }),
            _ => {
                let own = Cost { flops: flops::of(self.graph, place), is_lower_bound: false };
                called.iter().fold(own, |sum, &callee| sum.plus(self.cost(callee, depth)))
            }
        }
    }

    fn while_loop(&mut self, place: Place, called: &[usize], depth: usize) -> Cost {
        let trip_count = trip_count(self.graph, place);
        let listed = self.loops.len();
        self.loops.push(WhileLoop {
            name: self.graph.instruction(place).name.clone(),
            depth,
            trip_count,
            body_instructions: 0,
        });
        let [body, condition] = called[..] else { return Cost::default() };
        self.loops[listed].body_instructions = self.size(body);
        let (body, condition) = (self.cost(body, depth + 1), self.cost(condition, depth + 1));
        let times = trip_count.unwrap_or(1);
        let flops = body.flops.saturating_mul(times);
        let conditions = condition.flops.saturating_mul(times.saturating_add(1));
        let counted_once = trip_count.is_none() && (body.flops > 0 || condition.flops > 0);
        Cost {
            flops: flops.saturating_add(conditions),
            is_lower_bound: counted_once || body.is_lower_bound || condition.is_lower_bound,
        }
    }

    /// The instructions of a computation and of those it calls, each counted once.
    fn size(&self, computation: usize) -> usize {
        let mut seen = HashSet::from([computation]);
        let mut open = vec![computation];
        let mut size = 0;
        while let Some(next) = open.pop() {
            let count = self.graph.computation(next).instructions.len();
            size += count;
            for callee in (0..count).flat_map(|i| self.graph.called((next, i))) {
                if seen.insert(callee) {
                    open.push(callee);
                }
            }
        }
        size
    }
}
