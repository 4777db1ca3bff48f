//! A module as a reader goes through it: computations in the order of calls, and in words what the
//! fields of an instruction say. The graph and the page are made of it.

use std::collections::{BTreeMap, HashMap};

use prost::Message;

use super::Module;
use super::proto::{
    HloComputationProto, HloInstructionProto, LiteralProto, PaddingDimension, SliceDimensions,
    WindowDimension,
};
use super::stats::{Stats, WhileLoop};

/// Constants of more elements are shown as `{...}`.
const SHORT: u64 = 4;

/// A module with its calls resolved.
pub(crate) struct View<'a> {
    pub module: &'a Module,
    pub stats: Stats,
    /// The entry, then each computation after one that calls it, then those that nothing calls.
    pub computations: Vec<Computation<'a>>,
    /// Positions of computations by their ids.
    by_id: HashMap<i64, usize>,
    /// The loops, by the names of their instructions.
    loops: BTreeMap<String, WhileLoop>,
}

/// A computation and where it is called.
pub(crate) struct Computation<'a> {
    pub proto: &'a HloComputationProto,
    /// In the order in which they run, if the module was scheduled.
    pub instructions: Vec<&'a HloInstructionProto>,
    pub callers: Vec<Caller<'a>>,
    /// The computation from which it was reached first.
    pub parent: Option<usize>,
    /// Positions of instructions by their [`local`] ids.
    by_id: HashMap<u32, usize>,
}

/// A place that calls a computation.
pub(crate) struct Caller<'a> {
    /// The position of the computation with the instruction.
    pub computation: usize,
    pub instruction: &'a HloInstructionProto,
    /// What the computation is there, as HLO's text form calls it: `body`, `calls`.
    pub role: String,
}

impl<'a> View<'a> {
    pub fn new(module: &'a Module) -> View<'a> {
        let stats = module.stats();
        let loops = stats.while_loops.iter().map(|l| (l.name.clone(), l.clone())).collect();
        let (computations, by_id) = in_order_of_calls(module);
        let mut view = View { module, stats, computations, by_id, loops };
        view.find_callers();
        view
    }

    /// What an instruction calls: what each is to it, and its position.
    pub fn calls<'s>(
        &'s self,
        instruction: &'s HloInstructionProto,
    ) -> impl Iterator<Item = (String, usize)> + 's {
        let called = instruction.called_computation_ids.iter().enumerate();
        called.filter_map(|(i, id)| Some((role(&instruction.opcode, i), *self.by_id.get(id)?)))
    }

    /// The figures of a While loop.
    pub fn while_loop(&self, instruction: &HloInstructionProto) -> Option<&WhileLoop> {
        (instruction.opcode == "while").then(|| self.loops.get(&instruction.name))?
    }

    /// Whether the program starts in this computation.
    pub fn is_entry(&self, computation: &Computation) -> bool {
        computation.proto.id == self.module.decoded().entry_computation_id
    }

    fn find_callers(&mut self) {
        let mut callers: Vec<Vec<Caller>> = self.computations.iter().map(|_| Vec::new()).collect();
        for (computation, caller) in self.computations.iter().enumerate() {
            for &instruction in &caller.instructions {
                for (role, called) in self.calls(instruction) {
                    callers[called].push(Caller { computation, instruction, role });
                }
            }
        }
        for (computation, callers) in self.computations.iter_mut().zip(callers) {
            computation.callers = callers;
        }
    }
}

impl<'a> Computation<'a> {
    fn new(module: &'a Module, proto: &'a HloComputationProto) -> Computation<'a> {
        let ids = proto.instructions.iter().enumerate();
        let at: HashMap<u32, usize> = ids.map(|(i, found)| (local(found.id), i)).collect();
        let sequences = module.decoded().schedule.as_ref().map(|schedule| &schedule.sequences);
        let scheduled = sequences.and_then(|sequences| sequences.get(&proto.id)).map(|sequence| {
            let found = sequence.instruction_ids.iter().filter_map(|&id| at.get(&local(id)));
            found.map(|&i| &proto.instructions[i]).collect::<Vec<_>>()
        });
        let instructions = scheduled
            .filter(|scheduled| scheduled.len() == proto.instructions.len())
            .unwrap_or_else(|| proto.instructions.iter().collect());
        let by_id =
            instructions.iter().enumerate().map(|(i, found)| (local(found.id), i)).collect();
        Computation { proto, instructions, callers: Vec::new(), parent: None, by_id }
    }

    /// The position of the instruction with this id.
    pub fn position(&self, id: i64) -> Option<usize> {
        self.by_id.get(&local(id)).copied()
    }

    /// Whether an instruction is the result of this computation.
    pub fn is_root(&self, instruction: &HloInstructionProto) -> bool {
        local(instruction.id) == local(self.proto.root_id)
    }

    /// The operands of an instruction of this computation.
    pub fn operands<'s>(
        &'s self,
        instruction: &'s HloInstructionProto,
    ) -> impl Iterator<Item = &'a HloInstructionProto> + 's {
        let positions = instruction.operand_ids.iter().filter_map(|&id| self.position(id));
        positions.map(|position| self.instructions[position])
    }

    /// The opcode of the only instruction besides parameters, as that of a reducer often is.
    pub fn only_opcode(&self) -> Option<&'a str> {
        let mut rest = self.instructions.iter().filter(|found| found.opcode != "parameter");
        rest.next().filter(|_| rest.next().is_none()).map(|found| found.opcode.as_str())
    }
}

/// The part of an id that tells an instruction from others of its computation. XLA writes the id of
/// the computation into the other 32 bits, but not everywhere.
fn local(id: i64) -> u32 {
    id as u32
}

/// The computations from the entry on, a called one after the first that calls it, and their
/// positions by id.
fn in_order_of_calls(module: &Module) -> (Vec<Computation<'_>>, HashMap<i64, usize>) {
    let all = &module.decoded().computations;
    let protos: HashMap<i64, &HloComputationProto> = all.iter().map(|c| (c.id, c)).collect();
    let (mut computations, mut by_id) = (Vec::with_capacity(all.len()), HashMap::new());
    // What is still to be visited, with what called it; the next one is the last. In a module,
    // those that are called come first.
    let mut waiting: Vec<(i64, Option<usize>)> = all.iter().map(|c| (c.id, None)).collect();
    waiting.push((module.decoded().entry_computation_id, None));
    while let Some((id, parent)) = waiting.pop() {
        let Some(proto) = protos.get(&id) else { continue };
        if by_id.contains_key(&id) {
            continue;
        }
        let position = computations.len();
        by_id.insert(id, position);
        let computation = Computation { parent, ..Computation::new(module, proto) };
        let called = computation.instructions.iter().rev();
        let called = called.flat_map(|found| found.called_computation_ids.iter().rev());
        waiting.extend(called.map(|&id| (id, Some(position))));
        computations.push(computation);
    }
    (computations, by_id)
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
