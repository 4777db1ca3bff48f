//! Whether a decoded module is well formed, before XLA sees it: XLA ends the process on some that
//! are not.
//!
//! What is checked is what can be checked without knowing the operations: ids are unique and name
//! what is there, what is used stands before what uses it, parameters are numbered from 0, shapes
//! have sizes that can be multiplied, and constants have as many elements as their type says. The
//! rest is left to XLA, which reports it as an error.

use std::collections::HashMap;

use prost::Message;

use super::proto::*;
use super::shape::{self, TOKEN};

/// How deep computations may call each other. XLA walks some of these calls by recursion.
const MAX_CALL_DEPTH: usize = 200;

/// How deep tuples may lie in tuples.
const MAX_TUPLE_DEPTH: usize = 32;

/// The most bytes that one value may have: what XLA can count.
const MAX_VALUE_BYTES: u64 = i64::MAX as u64 / 16;

/// The most bytes of one constant: what a protocol buffer can hold.
const MAX_LITERAL_BYTES: u64 = i32::MAX as u64;

/// What is wrong with a module, in words, if something is.
pub(super) fn check(module: &HloModuleProto) -> Result<(), String> {
    if module.computations.is_empty() {
        return Err("it has no computations".to_owned());
    }
    let mut seen: HashMap<i64, Seen> = HashMap::new();
    for computation in &module.computations {
        let checked = check_computation(computation, &seen)
            .map_err(|what| format!("computation {:?}: {what}", computation.name))?;
        if seen.insert(computation.id, checked).is_some() {
            return Err(format!("two computations have the id {}", computation.id));
        }
    }
    let id = module.entry_computation_id;
    let entry = module.computations.iter().find(|c| c.id == id);
    let entry = entry.ok_or_else(|| format!("the entry computation, with id {id}, is missing"))?;
    check_program_shape(module.host_program_shape.as_ref(), entry)
        .map_err(|what| format!("the types of arguments and results: {what}"))?;
    check_aliases(module, entry)?;
    check_schedule(module)
}

/// What is known of a computation that was checked.
struct Seen {
    /// How deep the calls in it go.
    depth: usize,
    parameters: usize,
}

fn check_computation(
    computation: &HloComputationProto,
    seen: &HashMap<i64, Seen>,
) -> Result<Seen, String> {
    let mut defined = HashMap::new();
    let mut parameters = Vec::new();
    let mut depth = 0;
    for instruction in &computation.instructions {
        let in_it = |what: String| format!("instruction {:?}: {what}", instruction.name);
        check_instruction(instruction).map_err(in_it)?;
        for id in instruction.operand_ids.iter().chain(&instruction.control_predecessor_ids) {
            if !defined.contains_key(id) {
                return Err(in_it(format!(
                    "it uses the instruction with id {id}, which does not stand before it in the \
                     same computation"
                )));
            }
        }
        for id in &instruction.called_computation_ids {
            let called = seen.get(id).ok_or_else(|| {
                in_it(format!(
                    "it calls the computation with id {id}, which does not stand before it; HLO \
                     has no recursion"
                ))
            })?;
            depth = depth.max(called.depth + 1);
            check_callee(instruction, called).map_err(in_it)?;
        }
        if instruction.opcode == "parameter" {
            parameters.push(instruction.parameter_number);
        }
        if defined.insert(instruction.id, instruction).is_some() {
            return Err(in_it(format!("another instruction has its id {}", instruction.id)));
        }
    }
    if depth > MAX_CALL_DEPTH {
        return Err(format!("computations call each other {depth} deep; at most {MAX_CALL_DEPTH}"));
    }
    parameters.sort_unstable();
    if let Some((i, found)) = parameters.iter().enumerate().find(|&(i, &p)| p != i as i64) {
        return Err(format!(
            "its parameters are not numbered one by one from 0: {found} instead of {i}"
        ));
    }
    if !defined.contains_key(&computation.root_id) {
        return Err(format!("its root, with id {}, is missing", computation.root_id));
    }
    if let Some(shape) = &computation.program_shape {
        check_program_shape(Some(shape), computation)
            .map_err(|what| format!("its type: {what}"))?;
    }
    Ok(Seen { depth, parameters: parameters.len() })
}

/// Loops and branches call computations of one parameter, calls and fusions of as many as they
/// have operands.
fn check_callee(instruction: &HloInstructionProto, called: &Seen) -> Result<(), String> {
    let wanted = match instruction.opcode.as_str() {
        "while" | "conditional" => 1,
        "call" | "fusion" => instruction.operand_ids.len(),
        _ => return Ok(()),
    };
    if called.parameters == wanted {
        return Ok(());
    }
    let (opcode, found) = (&instruction.opcode, called.parameters);
    Err(format!("a {opcode} calls a computation of {wanted} parameters here, but it has {found}"))
}

fn check_instruction(instruction: &HloInstructionProto) -> Result<(), String> {
    let shape = instruction.shape.as_ref().ok_or("it has no type")?;
    check_shape(shape, 0)?;
    if instruction.opcode.is_empty() {
        return Err("it has no opcode".to_owned());
    }
    // Ids are 32 bits of the computation and 32 of the instruction in it.
    if instruction.id < 0 {
        return Err(format!("its id, {}, is negative", instruction.id));
    }
    let callees = instruction.called_computation_ids.len();
    let wanted = match instruction.opcode.as_str() {
        "while" => Some(2),
        "call" | "fusion" => Some(1),
        _ => None,
    };
    if let Some(wanted) = wanted.filter(|&n| n != callees) {
        let opcode = &instruction.opcode;
        return Err(format!("a {opcode} calls {wanted} computations, but it has {callees}"));
    }
    match (&instruction.literal, instruction.opcode.as_str()) {
        (Some(bytes), _) => {
            let literal = LiteralProto::decode(bytes.clone())
                .map_err(|error| format!("its constant cannot be read: {error}"))?;
            let own = literal.shape.as_ref().ok_or("its constant has no type")?;
            if own.to_string() != shape.to_string() {
                return Err(format!("its constant has type {own}, but it has type {shape}"));
            }
            check_literal(&literal, 0).map_err(|what| format!("its constant: {what}"))
        }
        (None, "constant") if shape.bytes() != Some(0) => {
            Err("it is a constant without a value".to_owned())
        }
        _ => Ok(()),
    }
}

fn check_shape(shape: &ShapeProto, depth: usize) -> Result<(), String> {
    if depth > MAX_TUPLE_DEPTH {
        return Err(format!("tuples lie more than {MAX_TUPLE_DEPTH} deep in each other"));
    }
    if shape.is_tuple() {
        for part in &shape.tuple_shapes {
            check_shape(part, depth + 1)?;
        }
    } else if shape.element_type != TOKEN && shape::element_type(shape.element_type).is_none() {
        return Err(format!("{} is not an element type of HLO", shape.element_type));
    } else if !shape.tuple_shapes.is_empty() {
        return Err("it is an array and has the parts of a tuple".to_owned());
    }
    let rank = shape.dimensions.len();
    if shape.dimensions.iter().any(|&size| size < 0) {
        return Err(format!("an axis of {shape} has a negative size"));
    }
    if shape.bytes().is_none_or(|bytes| bytes > MAX_VALUE_BYTES) {
        return Err(format!("{shape} is larger than any memory"));
    }
    if rank > 0 && (shape.is_tuple() || shape.element_type == TOKEN) {
        return Err(format!("{shape} has {rank} axes, but is no array"));
    }
    if !shape.is_dynamic_dimension.is_empty() && shape.is_dynamic_dimension.len() != rank {
        return Err(format!("{shape} does not say of each axis whether it is dynamic"));
    }
    shape.layout.as_ref().map_or(Ok(()), |layout| {
        check_layout(layout, rank).map_err(|what| format!("the layout of {shape}: {what}"))
    })
}

fn check_layout(layout: &LayoutProto, rank: usize) -> Result<(), String> {
    let mut axes = layout.minor_to_major.clone();
    axes.sort_unstable();
    if axes.len() != rank || axes.iter().enumerate().any(|(i, &axis)| axis != i as i64) {
        return Err(format!("{:?} is no order of {rank} axes", layout.minor_to_major));
    }
    if layout.physical_shape.is_some() {
        return Err("it has a physical shape".to_owned());
    }
    // The least number there is says "combined with the next axis".
    let mut tiles = layout.tiles.iter().flat_map(|tile| &tile.dimensions);
    if let Some(size) = tiles.find(|&&size| size < 1 && size != i64::MIN) {
        return Err(format!("{size} is no size of a tile"));
    }
    let is_axis = |axis: i64| usize::try_from(axis).is_ok_and(|axis| axis < rank);
    match layout.split_configs.iter().find(|split| !is_axis(split.dimension)) {
        Some(split) => Err(format!("it splits axis {}, which is not there", split.dimension)),
        None => Ok(()),
    }
}

fn check_literal(literal: &LiteralProto, depth: usize) -> Result<(), String> {
    let shape = literal.shape.as_ref().ok_or("a part has no type")?;
    check_shape(shape, depth)?;
    if shape.is_tuple() {
        let (found, wanted) = (literal.tuple_literals.len(), shape.tuple_shapes.len());
        if found != wanted {
            return Err(format!("{found} parts instead of {wanted}"));
        }
        for (part, wanted) in literal.tuple_literals.iter().zip(&shape.tuple_shapes) {
            if part.shape.as_ref().map(ToString::to_string) != Some(wanted.to_string()) {
                return Err(format!("a part that is no {wanted}"));
            }
            check_literal(part, depth + 1)?;
        }
        return Ok(());
    }
    if shape.is_dynamic_dimension.contains(&true) {
        return Err(format!("{shape} has a size that is not known"));
    }
    let bytes = shape.bytes().unwrap_or(u64::MAX);
    if bytes > MAX_LITERAL_BYTES {
        return Err(format!("{shape} has {bytes} bytes, and a protocol buffer holds 2 GiB"));
    }
    let elements = shape.elements().unwrap_or(u64::MAX);
    let (found, per_element) = match shape::element_type(shape.element_type).map(|(name, _)| name) {
        Some("pred") => (literal.preds.len(), 1),
        Some("u8") => (literal.u8s.len(), 1),
        Some("s8") => (literal.s8s.len(), 1),
        Some("s32") => (literal.s32s.len(), 1),
        Some("s64") => (literal.s64s.len(), 1),
        Some("u32") => (literal.u32s.len(), 1),
        Some("u64") => (literal.u64s.len(), 1),
        Some("f32") => (literal.f32s.len(), 1),
        Some("f64") => (literal.f64s.len(), 1),
        Some("f16") => (literal.f16s.len(), 2),
        Some("bf16") => (literal.bf16s.len(), 2),
        Some("u16") => (literal.u16s.len(), 2),
        Some("s16") => (literal.s16s.len(), 2),
        Some("c64") => (literal.c64s.len(), 2),
        Some("c128") => (literal.c128s.len(), 2),
        // Types of a few bits, packed in ways that XLA checks itself.
        _ => return Ok(()),
    };
    if found as u64 != elements * per_element {
        let values = found as u64 / per_element;
        return Err(format!("{values} elements instead of the {elements} of {shape}"));
    }
    Ok(())
}

/// The type of a computation against its parameters and its root.
fn check_program_shape(
    shape: Option<&ProgramShapeProto>,
    computation: &HloComputationProto,
) -> Result<(), String> {
    let shape = shape.ok_or("they are missing")?;
    for parameter in &shape.parameters {
        check_shape(parameter, 0)?;
    }
    check_shape(shape.result.as_ref().ok_or("there is no result")?, 0)?;
    let parameters = computation.instructions.iter().filter(|i| i.opcode == "parameter");
    let (found, wanted) = (shape.parameters.len(), parameters.clone().count());
    if found != wanted {
        return Err(format!("{found} parameters, but the computation has {wanted}"));
    }
    for parameter in parameters {
        let number = usize::try_from(parameter.parameter_number).unwrap_or(usize::MAX);
        let (own, other) = (parameter.shape.as_ref(), shape.parameters.get(number));
        if own.map(ToString::to_string) != other.map(ToString::to_string) {
            return Err(format!("parameter {number} has another type in the computation"));
        }
    }
    let root = computation.instructions.iter().find(|i| i.id == computation.root_id);
    let root = root.and_then(|i| i.shape.as_ref()).map(ToString::to_string);
    if root != shape.result.as_ref().map(ToString::to_string) {
        return Err("the result has another type in the computation".to_owned());
    }
    Ok(())
}

/// The part of a shape at a path of tuple indices.
fn part<'a>(shape: &'a ShapeProto, path: &[i64]) -> Option<&'a ShapeProto> {
    path.iter().try_fold(shape, |shape, &i| shape.tuple_shapes.get(usize::try_from(i).ok()?))
}

/// Results share memory with parameters that are there.
fn check_aliases(module: &HloModuleProto, entry: &HloComputationProto) -> Result<(), String> {
    let shapes = module.host_program_shape.as_ref().ok_or("it has no types of arguments")?;
    let parameter = |number: i64, path: &[i64]| {
        let shape = usize::try_from(number).ok().and_then(|i| shapes.parameters.get(i));
        shape.and_then(|shape| part(shape, path)).map(|_| ()).ok_or_else(|| {
            format!("computation {:?}: parameter {number} at {path:?} is donated, but missing", entry.name)
        })
    };
    for entry in module.input_output_alias.iter().flat_map(|aliases| &aliases.entries) {
        parameter(entry.parameter_number, &entry.parameter_shape_index)?;
        let result = shapes.result.as_ref();
        if result.and_then(|shape| part(shape, &entry.output_shape_index)).is_none() {
            let path = &entry.output_shape_index;
            return Err(format!("the result at {path:?} takes over memory, but is missing"));
        }
    }
    for entry in module.buffer_donor.iter().flat_map(|donors| &donors.entries) {
        parameter(entry.parameter_number, &entry.parameter_shape_index)?;
    }
    Ok(())
}

/// A schedule names each instruction of its computations once.
fn check_schedule(module: &HloModuleProto) -> Result<(), String> {
    let Some(schedule) = &module.schedule else { return Ok(()) };
    let by_id: HashMap<i64, &HloComputationProto> =
        module.computations.iter().map(|c| (c.id, c)).collect();
    for (id, sequence) in &schedule.sequences {
        let computation =
            by_id.get(id).ok_or_else(|| format!("the schedule names computation {id}, which is missing"))?;
        let mut scheduled = sequence.instruction_ids.clone();
        let mut there: Vec<i64> = computation.instructions.iter().map(|i| i.id).collect();
        scheduled.sort_unstable();
        there.sort_unstable();
        if scheduled != there {
            let name = &computation.name;
            return Err(format!("the schedule of {name:?} is not an order of its instructions"));
        }
    }
    Ok(())
}
