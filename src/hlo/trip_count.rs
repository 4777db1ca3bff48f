//! How often a While loop runs, as far as the module tells it.
//!
//! After its passes XLA says so itself, in the backend's settings of the instruction. Before them
//! it is computed here for loops that count: the condition compares one part of the state with a
//! limit, the body adds a constant to that part, and the loop starts from a constant. The limit is
//! a constant too, or a part of the state that the body leaves as it is. This is what the loops of
//! this library and of JAX look like. Of any other loop nothing is said.

use prost::Message;

use super::graph::{Graph, Place};
use super::proto::{HloInstructionProto, LiteralProto};
use super::shape;

/// Values that are followed back for one loop, before nothing is said of it.
const FUEL: usize = 1000;

/// How often the loop at `place` runs.
pub(crate) fn trip_count(graph: &Graph, place: Place) -> Option<u64> {
    known(&graph.instruction(place).backend_config).or_else(|| Counter::of(graph, place)?.trips())
}

/// The trip count in the settings of the backend.
fn known(config: &[u8]) -> Option<u64> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let count = config.get("known_trip_count")?.get("n")?;
    count.as_u64().or_else(|| count.as_str()?.parse().ok())
}

/// A scalar integer of a loop, as a function of the state at the start of an iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Term {
    /// A constant.
    Constant(i128),
    /// A part of the state and a constant.
    Part(i64, i128),
}

/// A loop that counts.
#[derive(Debug, PartialEq)]
struct Counter {
    start: i128,
    step: i128,
    limit: i128,
    /// `LT`, `LE`, `GT`, `GE` or `NE`: the loop goes on while `counter direction limit`.
    direction: &'static str,
    /// The least and the greatest number of the counter's type.
    range: (i128, i128),
}

impl Counter {
    fn of(graph: &Graph, place: Place) -> Option<Counter> {
        let [body, condition] = graph.called(place)[..] else { return None };
        let mut values = Values { graph, fuel: FUEL };
        let (direction, left, right, range) = values.comparison(condition)?;
        let body_root = graph.root(body)?;
        // The part of the state after one iteration.
        let next =
            |values: &mut Values, part: i64| values.term(Cursor::new(body_root, &[part]), body);
        let invariant = |values: &mut Values, term: Term| match term {
            Term::Constant(value) => Some(value),
            Term::Part(part, plus) => {
                let same = next(values, part)? == Term::Part(part, 0);
                let start = if same { values.initial(place, part) } else { None };
                start.map(|value| value + plus)
            }
        };
        let (counter, limit, direction) = match invariant(&mut values, right) {
            Some(limit) => (left, limit, direction),
            None => (right, invariant(&mut values, left)?, mirrored(direction)),
        };
        // A limit for counter + c is not the same as one for the counter, if the sum can wrap.
        let Term::Part(part, 0) = counter else { return None };
        let Term::Part(of, step) = next(&mut values, part)? else { return None };
        let start = values.initial(place, part)?;
        // Sums that were followed may have wrapped around on the way.
        let in_range = |value: &i128| (range.0..=range.1).contains(value);
        let sound = of == part && in_range(&start) && in_range(&limit);
        sound.then_some(Counter { start, step, limit, direction, range })
    }

    fn trips(&self) -> Option<u64> {
        let Counter { start, step, limit, direction, range } = *self;
        let distance = limit - start;
        let up_to = |distance: i128, step: i128| {
            let steps = distance + step - 1;
            (step > 0).then(|| (steps / step).max(0))
        };
        let trips = match direction {
            "LT" if distance <= 0 => 0,
            "LE" if distance < 0 => 0,
            "GT" if distance >= 0 => 0,
            "GE" if distance > 0 => 0,
            "NE" if distance == 0 => 0,
            "LT" => up_to(distance, step)?,
            "LE" => up_to(distance + 1, step)?,
            "GT" => up_to(-distance, -step)?,
            "GE" => up_to(-distance + 1, -step)?,
            "NE" if step != 0 && distance % step == 0 && distance / step > 0 => distance / step,
            _ => return None,
        };
        // If the counter wraps around before it gets there, the loop goes on.
        let end = start + trips * step;
        let fits = (range.0..=range.1).contains(&end);
        if fits { u64::try_from(trips).ok() } else { None }
    }
}

/// The comparison with its sides exchanged.
fn mirrored(direction: &'static str) -> &'static str {
    match direction {
        "LT" => "GT",
        "LE" => "GE",
        "GT" => "LT",
        "GE" => "LE",
        other => other,
    }
}

/// Follows values back to where they come from.
struct Values<'a> {
    graph: &'a Graph<'a>,
    fuel: usize,
}

impl Values<'_> {
    /// The root of a loop's condition: a comparison of two integers.
    fn comparison(&mut self, condition: usize) -> Option<(&'static str, Term, Term, (i128, i128))> {
        let mut cursor = Cursor::new(self.graph.root(condition)?, &[]);
        // The comparison may stand in a fusion or a call that is the root.
        while self.graph.instruction(cursor.place).opcode != "compare" {
            self.burn()?;
            cursor.step(self.graph)?;
        }
        let place = cursor.place;
        let instruction = self.graph.instruction(place);
        let directions = ["LT", "LE", "GT", "GE", "NE"];
        let direction = directions.into_iter().find(|d| *d == instruction.comparison_direction)?;
        let operand = self.graph.instruction(self.graph.operand(place, 0)?);
        let range = shape::integer_range(operand.shape.as_ref()?.element_type)?;
        let left = self.term(cursor.clone().operand(self.graph, 0)?, condition)?;
        let right = self.term(cursor.operand(self.graph, 1)?, condition)?;
        Some((direction, left, right, range))
    }

    /// Part `part` of the state with which the loop at `place` starts, if it is a constant.
    fn initial(&mut self, place: Place, part: i64) -> Option<i128> {
        let operand = self.graph.operand(place, 0)?;
        // No computation has this number: what is followed is followed as far as it goes.
        match self.term(Cursor::new(operand, &[part]), usize::MAX)? {
            Term::Constant(value) => Some(value),
            Term::Part(..) => None,
        }
    }

    /// The scalar that `cursor` points at. The parameter of the computation `root` is the state of
    /// the loop.
    fn term(&mut self, mut cursor: Cursor, root: usize) -> Option<Term> {
        loop {
            self.burn()?;
            let instruction = self.graph.instruction(cursor.place);
            match instruction.opcode.as_str() {
                "parameter" if cursor.place.0 == root => {
                    let part = cursor.path.pop()?;
                    return cursor.path.is_empty().then_some(Term::Part(part, 0));
                }
                "constant" if cursor.path.is_empty() => {
                    return integer(instruction.literal.as_ref()?).map(Term::Constant);
                }
                "add" | "subtract" if cursor.path.is_empty() => {
                    let a = self.term(cursor.clone().operand(self.graph, 0)?, root)?;
                    let b = self.term(cursor.operand(self.graph, 1)?, root)?;
                    return combine(a, b, instruction.opcode == "subtract");
                }
                _ => cursor.step(self.graph)?,
            }
        }
    }

    fn burn(&mut self) -> Option<()> {
        self.fuel = self.fuel.checked_sub(1)?;
        Some(())
    }
}

/// A value that is followed back: the one at `place`, or what lies in it.
#[derive(Clone)]
struct Cursor {
    place: Place,
    /// The tuple indices at which the value lies, the outermost one last.
    path: Vec<i64>,
    /// The calls that were followed into, the innermost one last.
    calls: Vec<Place>,
}

impl Cursor {
    fn new(place: Place, path: &[i64]) -> Cursor {
        Cursor { place, path: path.to_vec(), calls: Vec::new() }
    }

    /// The operand of the instruction that is pointed at.
    fn operand(mut self, graph: &Graph, position: usize) -> Option<Cursor> {
        self.place = graph.operand(self.place, position)?;
        Some(self)
    }

    /// Goes to where the value comes from, if it is only handed on.
    fn step(&mut self, graph: &Graph) -> Option<()> {
        let instruction = graph.instruction(self.place);
        let first = graph.operand(self.place, 0);
        self.place = match instruction.opcode.as_str() {
            "get-tuple-element" => {
                self.path.push(instruction.tuple_index);
                first?
            }
            "tuple" => graph.operand(self.place, usize::try_from(self.path.pop()?).ok()?)?,
            "copy" | "optimization-barrier" => first?,
            "bitcast" | "reshape" => {
                let ty = |i: &HloInstructionProto| i.shape.as_ref().map(|s| s.element_type);
                first.filter(|&from| ty(graph.instruction(from)) == ty(instruction))?
            }
            "call" | "fusion" => {
                self.calls.push(self.place);
                graph.root(*graph.called(self.place).first()?)?
            }
            "parameter" => {
                let caller = self.calls.pop().or_else(|| graph.caller(self.place.0))?;
                if !matches!(graph.instruction(caller).opcode.as_str(), "call" | "fusion") {
                    return None;
                }
                graph.operand(caller, usize::try_from(instruction.parameter_number).ok()?)?
            }
            _ => return None,
        };
        Some(())
    }
}

/// A sum or a difference of two terms, if it is a term.
fn combine(a: Term, b: Term, subtract: bool) -> Option<Term> {
    let sign = if subtract { -1 } else { 1 };
    match (a, b) {
        (Term::Constant(a), Term::Constant(b)) => Some(Term::Constant(a + sign * b)),
        (Term::Part(part, a), Term::Constant(b)) => Some(Term::Part(part, a + sign * b)),
        (Term::Constant(a), Term::Part(part, b)) if !subtract => Some(Term::Part(part, a + b)),
        _ => None,
    }
}

/// The value of a scalar integer constant.
fn integer(literal: &prost::bytes::Bytes) -> Option<i128> {
    let literal = LiteralProto::decode(literal.clone()).ok()?;
    let shape = literal.shape.as_ref()?;
    if shape.elements() != Some(1) {
        return None;
    }
    match shape::element_type(shape.element_type)?.0 {
        "s32" => literal.s32s.first().map(|&v| v.into()),
        "s64" => literal.s64s.first().map(|&v| v.into()),
        "u32" => literal.u32s.first().map(|&v| v.into()),
        "u64" => literal.u64s.first().map(|&v| v.into()),
        "u8" => literal.u8s.first().map(|&v| v.into()),
        "s8" => literal.s8s.first().map(|&v| (v as i8).into()),
        _ => None,
    }
}
