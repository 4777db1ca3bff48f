//! A module as a reader goes through it: computations in the order of calls, and in words what the
//! fields of an instruction say. The graph and the page are made of it.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::Module;
use super::graph::{Graph, Place};
use super::proto::{
    HloInstructionProto, LiteralProto, PaddingDimension, SliceDimensions, WindowDimension,
};
use super::stats::{Stats, WhileLoop};

/// Constants of more elements are shown as `{...}`.
const SHORT: u64 = 4;

/// A module in the order in which it is shown.
pub(crate) struct View<'a> {
    pub module: &'a Module,
    pub graph: Graph<'a>,
    pub stats: Stats,
    /// The entry, then each computation after one that calls it, then those that nothing calls.
    pub order: Vec<usize>,
    /// For each computation, the one from which it was reached first.
    parents: Vec<Option<usize>>,
    /// The loops, by the names of their instructions.
    loops: HashMap<String, WhileLoop>,
}

/// A place that calls a computation, and what the computation is to it.
pub(crate) struct Caller {
    pub place: Place,
    pub role: String,
}

impl<'a> View<'a> {
    pub fn new(module: &'a Module) -> View<'a> {
        let stats = module.stats();
        let loops = stats.while_loops.iter().map(|l| (l.name.clone(), l.clone())).collect();
        let graph = Graph::new(module.decoded());
        let count = module.decoded().computations.len();
        let mut view =
            View { module, graph, stats, order: Vec::new(), parents: vec![None; count], loops };
        view.find_order(count);
        view
    }

    fn find_order(&mut self, count: usize) {
        // What is still to be visited, with what called it; the next one is the last. In a module,
        // those that are called come first.
        let mut waiting: Vec<(usize, Option<usize>)> = (0..count).map(|c| (c, None)).collect();
        waiting.extend(self.graph.entry().map(|entry| (entry, None)));
        let mut seen = HashSet::new();
        while let Some((c, parent)) = waiting.pop() {
            if !seen.insert(c) {
                continue;
            }
            self.order.push(c);
            self.parents[c] = parent;
            let called: Vec<usize> = self
                .instructions(c)
                .into_iter()
                .flat_map(|place| self.graph.called(place))
                .collect();
            waiting.extend(called.into_iter().rev().map(|callee| (callee, Some(c))));
        }
    }

    /// The instructions of a computation, in the order in which they run if they were scheduled.
    pub fn instructions(&self, c: usize) -> Vec<Place> {
        let computation = self.graph.computation(c);
        let schedule = self.module.decoded().schedule.as_ref();
        let Some(sequence) = schedule.and_then(|s| s.sequences.get(&computation.id)) else {
            return (0..computation.instructions.len()).map(|i| (c, i)).collect();
        };
        sequence.instruction_ids.iter().filter_map(|&id| self.graph.place(c, id)).collect()
    }

    pub fn instruction(&self, place: Place) -> &'a HloInstructionProto {
        self.graph.instruction(place)
    }

    pub fn operands(&self, place: Place) -> impl Iterator<Item = Place> + '_ {
        let count = self.instruction(place).operand_ids.len();
        (0..count).filter_map(move |position| self.graph.operand(place, position))
    }

    /// What an instruction calls: what each is to it, as HLO's text form says, and its position.
    pub fn calls(&self, place: Place) -> Vec<(String, usize)> {
        let opcode = &self.instruction(place).opcode;
        let called = self.graph.called(place).into_iter().enumerate();
        called.map(|(i, c)| (role(opcode, i), c)).collect()
    }

    /// Where a computation is called.
    pub fn callers(&self, c: usize) -> Vec<Caller> {
        let mut callers = Vec::new();
        for &place in self.graph.callers(c) {
            let called = self.calls(place).into_iter().find(|&(_, called)| called == c);
            callers.extend(called.map(|(role, _)| Caller { place, role }));
        }
        callers
    }

    /// The computation that calls this one, if it is called from a single place.
    pub fn only_parent(&self, c: usize) -> Option<usize> {
        self.parents[c].filter(|_| self.graph.callers(c).len() == 1)
    }

    /// The figures of a While loop.
    pub fn while_loop(&self, place: Place) -> Option<&WhileLoop> {
        let instruction = self.instruction(place);
        (instruction.opcode == "while").then(|| self.loops.get(&instruction.name))?
    }

    /// Whether an instruction is the result of its computation.
    pub fn is_root(&self, place: Place) -> bool {
        self.graph.root(place.0) == Some(place)
    }

    /// The opcode of the only instruction besides parameters, as that of a reducer often is.
    pub fn only_opcode(&self, c: usize) -> Option<&'a str> {
        let instructions = self.graph.computation(c).instructions.iter();
        let mut rest = instructions.filter(|found| found.opcode != "parameter");
        rest.next().filter(|_| rest.next().is_none()).map(|found| found.opcode.as_str())
    }
}

/// What the `i`-th computation that an instruction calls is to it.
fn role(opcode: &str, i: usize) -> String {
    match opcode {
        "while" if i == 0 => "body".to_owned(),
        "while" => "condition".to_owned(),
        "conditional" => format!("branch {i}"),
        "fusion" | "async-start" | "custom-call" => "calls".to_owned(),
        "select-and-scatter" if i == 0 => "select".to_owned(),
        "select-and-scatter" => "scatter".to_owned(),
        _ => "to_apply".to_owned(),
    }
}

/// The value of a constant as in HLO, if it has at most four elements; `{...}` if it has more.
pub(crate) fn value(constant: &HloInstructionProto) -> Option<String> {
    let shape = constant.shape.as_ref()?;
    if constant.opcode != "constant" || shape.is_tuple() {
        return None;
    }
    if shape.elements()? > SHORT {
        return Some("{...}".to_owned());
    }
    let literal = LiteralProto::decode(constant.literal.clone()?).ok()?;
    let elements = elements(&literal)?;
    if shape.dimensions.is_empty() {
        return elements.into_iter().next();
    }
    Some(format!("{{{}}}", elements.join(", ")))
}

/// The elements of a literal, row by row; none for types that are packed into bytes.
fn elements(literal: &LiteralProto) -> Option<Vec<String>> {
    fn print<T: std::fmt::Display>(numbers: &[T]) -> Option<Vec<String>> {
        (!numbers.is_empty()).then(|| numbers.iter().map(T::to_string).collect())
    }
    print(&literal.preds)
        .or_else(|| print(&literal.s32s))
        .or_else(|| print(&literal.s64s))
        .or_else(|| print(&literal.u32s))
        .or_else(|| print(&literal.u64s))
        .or_else(|| print(&literal.f32s))
        .or_else(|| print(&literal.f64s))
}

/// What an instruction says besides its operands and what it calls, as in HLO's text form:
/// `dimensions={0,1}`.
pub(crate) fn attributes(instruction: &HloInstructionProto) -> Vec<String> {
    let mut found = Vec::new();
    let mut list = |name: &str, numbers: &[i64]| {
        if !numbers.is_empty() {
            found.push(format!("{name}={{{}}}", join(numbers, ",", i64::to_string)));
        }
    };
    list("dimensions", &instruction.dimensions);
    if let Some(dot) = &instruction.dot_dimension_numbers {
        list("lhs_batch_dims", &dot.lhs_batch_dimensions);
        list("lhs_contracting_dims", &dot.lhs_contracting_dimensions);
        list("rhs_batch_dims", &dot.rhs_batch_dimensions);
        list("rhs_contracting_dims", &dot.rhs_contracting_dimensions);
    }
    list("dynamic_slice_sizes", &instruction.dynamic_slice_sizes);
    if let Some(gather) = &instruction.gather_dimension_numbers {
        list("offset_dims", &gather.offset_dims);
        list("collapsed_slice_dims", &gather.collapsed_slice_dims);
        list("start_index_map", &gather.start_index_map);
        list("index_vector_dim", &[gather.index_vector_dim]);
        list("slice_sizes", &instruction.gather_slice_sizes);
    }
    if let Some(scatter) = &instruction.scatter_dimension_numbers {
        list("update_window_dims", &scatter.update_window_dims);
        list("inserted_window_dims", &scatter.inserted_window_dims);
        list("scatter_dims_to_operand_dims", &scatter.scatter_dims_to_operand_dims);
        list("index_vector_dim", &[scatter.index_vector_dim]);
    }
    if instruction.opcode == "get-tuple-element" {
        found.push(format!("index={}", instruction.tuple_index));
    }
    if !instruction.slice_dimensions.is_empty() {
        let range = |slice: &SliceDimensions| match slice {
            SliceDimensions { start, limit, stride: 1 } => format!("[{start}:{limit}]"),
            SliceDimensions { start, limit, stride } => format!("[{start}:{limit}:{stride}]"),
        };
        found.push(format!("slice={{{}}}", join(&instruction.slice_dimensions, ", ", range)));
    }
    if let Some(padding) = &instruction.padding_config {
        let axis = |PaddingDimension {
                        edge_padding_low: low,
                        edge_padding_high: high,
                        interior_padding: inner,
                    }: &_| {
            if *inner == 0 { format!("{low}_{high}") } else { format!("{low}_{high}_{inner}") }
        };
        found.push(format!("padding={}", join(&padding.dimensions, "x", axis)));
    }
    if let Some(window) = instruction.window.as_ref().filter(|w| !w.dimensions.is_empty()) {
        let axes = &window.dimensions;
        let size = join(axes, "x", |axis: &WindowDimension| axis.size.to_string());
        let stride = join(axes, "x", |axis| axis.stride.to_string());
        found.push(format!("window={{size={size} stride={stride}}}"));
    }
    for (name, word) in [
        ("direction", &instruction.comparison_direction),
        ("kind", &instruction.fusion_kind),
        ("custom_call_target", &instruction.custom_call_target),
    ] {
        if !word.is_empty() {
            found.push(format!("{name}={word}"));
        }
    }
    found
}

fn join<T>(items: &[T], separator: &str, print: impl Fn(&T) -> String) -> String {
    items.iter().map(print).collect::<Vec<_>>().join(separator)
}

/// `text` with the characters that mean something in XML and HTML replaced by their entities. What
/// XML does not allow at all becomes a replacement character.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c if c.is_control() => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_markup() {
        assert_eq!(
            escaped("<b a=\"x\" b='&'>\n\0"),
            "&lt;b a=&quot;x&quot; b=&#39;&amp;&#39;&gt;\u{fffd}\u{fffd}"
        );
    }
}
