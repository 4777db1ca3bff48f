//! A module as a graph for Graphviz.

use std::fmt::Write;

use super::Module;
use super::category;
use super::proto::{HloInstructionProto, ShapeProto};
use super::view::{Computation, View, attributes, escaped, value};
use crate::quantity::count;

/// A tuple of more parts is shown with the number of the rest.
const SHOWN_PARTS: usize = 8;

/// Longer attributes and names are cut, so that a node stays narrow.
const SHOWN_CHARS: usize = 60;

impl Module {
    /// The graph of the module in the language of Graphviz: `dot -Tsvg` draws it.
    ///
    /// Each computation is a cluster; one that is called from a single place lies in the cluster of
    /// its caller. A While loop leads to its body, with the number of its iterations, and to its
    /// condition. Scalar constants are written at the instructions that use them, and a reducer of
    /// one operation at the instruction that applies it.
    ///
    /// # Examples
    /// ```
    /// use onetrace::prelude::*;
    /// let double = jit(|x: Tensor| x * 2.0);
    /// let dot = double.lower(Tensor::zeros([3], DType::F32))?.module()?.dot();
    /// assert!(dot.starts_with("digraph "));
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    pub fn dot(&self) -> String {
        let view = View::new(self);
        let mut graph = Graph { view: &view, text: String::new() };
        graph.write();
        graph.text
    }
}

struct Graph<'a> {
    view: &'a View<'a>,
    text: String,
}

/// What is still to be written of a cluster.
enum Step {
    Open(usize),
    Close(usize),
}

impl Graph<'_> {
    fn line(&mut self, depth: usize, line: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        _ = writeln!(self.text, "{:1$}{line}", "", 2 * depth);
    }

    fn write(&mut self) {
        let view = self.view;
        self.line(0, format_args!("digraph {} {{", quoted(view.module.name())));
        self.line(1, format_args!("graph [compound=true, newrank=true, nodesep=0.25, ranksep=0.35, fontname=\"Helvetica,Arial,sans-serif\", fontsize=12, labeljust=l, bgcolor=white];"));
        self.line(1, format_args!("node [shape=box, style=\"filled,rounded\", margin=\"0.09,0.05\", fontname=\"Helvetica,Arial,sans-serif\", fontsize=10, fontcolor=\"#1f2328\"];"));
        self.line(1, format_args!("edge [color=\"#6e7781\", fontcolor=\"#59636e\", arrowsize=0.6, fontname=\"Helvetica,Arial,sans-serif\", fontsize=8];"));
        let drawn: Vec<bool> = view.computations.iter().map(|c| self.is_drawn(c)).collect();
        let inner: Vec<bool> = view.computations.iter().map(is_inner).collect();
        let mut steps: Vec<Step> =
            (0..drawn.len()).rev().filter(|&i| !inner[i]).map(Step::Open).collect();
        let mut children = vec![Vec::new(); drawn.len()];
        for (i, computation) in view.computations.iter().enumerate() {
            if let Some(parent) = computation.parent.filter(|_| inner[i]) {
                children[parent].push(i);
            }
        }
        let mut depth = 1;
        while let Some(step) = steps.pop() {
            match step {
                Step::Open(i) if drawn[i] => {
                    self.open(i, depth);
                    depth += 1;
                    steps.push(Step::Close(i));
                    steps.extend(children[i].iter().rev().map(|&child| Step::Open(child)));
                }
                Step::Open(_) => {}
                Step::Close(_) => {
                    depth -= 1;
                    self.line(depth, format_args!("}}"));
                }
            }
        }
        for i in (0..drawn.len()).filter(|&i| drawn[i]) {
            self.edges(i, &drawn);
        }
        self.line(0, format_args!("}}"));
    }

    /// Whether a computation is more than a reducer that is named where it is applied.
    fn is_drawn(&self, computation: &Computation) -> bool {
        let applied = |role: &str| role == "to_apply";
        let reducer = !computation.callers.is_empty()
            && computation.callers.iter().all(|caller| applied(&caller.role))
            && computation.callers.iter().all(|caller| caller.instruction.opcode != "call")
            && computation.only_opcode().is_some();
        !reducer
    }

    /// Begins a cluster and writes its nodes.
    fn open(&mut self, i: usize, depth: usize) {
        let computation = &self.view.computations[i];
        let (mut title, mut colour, mut fill) = (String::new(), "#8c959f", "#ffffff");
        for caller in computation.callers.iter().take(1) {
            let category = category::of(&caller.instruction.opcode);
            (colour, fill) = (category.ink, tint(&caller.instruction.opcode, &caller.role));
            title = format!("{} of {}", caller.role, caller.instruction.name);
            if caller.role == "calls" || caller.role == "to_apply" {
                title = format!("{} {}", caller.instruction.opcode, caller.instruction.name);
            }
        }
        if computation.callers.len() > 1 {
            title += &format!(" and {} more", computation.callers.len() - 1);
        }
        if self.view.is_entry(computation) {
            title = "ENTRY".to_owned();
        }
        let name = escaped(&computation.proto.name);
        self.line(depth, format_args!("subgraph cluster_{i} {{"));
        self.line(
            depth + 1,
            format_args!(
                "label=<<B>{name}</B>  <FONT COLOR=\"#59636e\">{}</FONT>>; style=\"rounded,filled\"; color=\"{colour}\"; fillcolor=\"{fill}\"; margin=10;",
                escaped(&title),
            ),
        );
        for (n, instruction) in computation.instructions.iter().enumerate() {
            if !is_folded(computation, instruction) {
                self.node(i, n, instruction, depth + 1);
            }
        }
    }

    fn node(&mut self, i: usize, n: usize, instruction: &HloInstructionProto, depth: usize) {
        let view = self.view;
        let computation = &view.computations[i];
        let category = category::of(&instruction.opcode);
        let is_root = computation.is_root(instruction);
        let mut lines = vec![title(instruction)];
        if let Some(shape) = &instruction.shape {
            lines.push(small(&shape_lines(shape)));
        }
        if let Some(constant) = value(instruction) {
            lines.push(escaped(&constant));
        }
        if let Some(found) = view.while_loop(instruction) {
            let times = found.trip_count.map_or("an unknown number of".to_owned(), count);
            lines.push(format!("<B>{times} iterations</B>"));
        }
        let mut details = attributes(instruction);
        details.retain(|attribute| !attribute.starts_with("index="));
        for (role, called) in view.calls(instruction) {
            let called = &view.computations[called];
            if let Some(opcode) = called.only_opcode().filter(|_| !self.is_drawn(called)) {
                details.push(format!("{role}={opcode}"));
            }
        }
        for (position, operand) in computation.operands(instruction).enumerate() {
            if let Some(constant) = folded_value(computation, operand) {
                let broadcast = if operand.opcode == "broadcast" { " everywhere" } else { "" };
                details.push(format!("operand {position} = {constant}{broadcast}"));
            }
        }
        lines.extend(details.iter().map(|detail| small(&escaped(&cut(detail)))));
        let mut looks = format!("fillcolor=\"{}\", color=\"{}\"", category.fill, category.ink);
        if is_root {
            lines[0] = format!("ROOT {}", lines[0]);
            looks += ", penwidth=2.4";
        }
        if instruction.opcode == "while" {
            looks += ", peripheries=2";
        }
        let mut tooltip = instruction.name.clone();
        if let Some(metadata) = &instruction.metadata {
            tooltip += &format!("\n{}", metadata.op_name);
        }
        if let Some((file, line)) = view.module.source(instruction) {
            tooltip += &format!("\n{file}:{line}");
        }
        let label = lines.join("<BR/>");
        let tooltip = quoted(&tooltip);
        self.line(depth, format_args!("n{i}_{n} [label=<{label}>, {looks}, tooltip={tooltip}];"));
    }

    /// Writes where the operands of the instructions come from and what they call.
    fn edges(&mut self, i: usize, drawn: &[bool]) {
        let view = self.view;
        let computation = &view.computations[i];
        for (n, instruction) in computation.instructions.iter().enumerate() {
            if is_folded(computation, instruction) {
                continue;
            }
            let several = instruction.operand_ids.len() > 1 && instruction.opcode != "tuple";
            for (position, operand) in computation.operands(instruction).enumerate() {
                let Some(from) = computation.position(operand.id) else { continue };
                if folded_value(computation, operand).is_some() {
                    continue;
                }
                let label =
                    if several { format!(" [headlabel=\"{position}\"]") } else { String::new() };
                self.line(1, format_args!("n{i}_{from} -> n{i}_{n}{label};"));
            }
            for (role, called) in view.calls(instruction).filter(|(_, called)| drawn[*called]) {
                // An edge needs a node; the cluster around it is where it ends.
                let inside = &view.computations[called];
                let visible = |found: &&HloInstructionProto| !is_folded(inside, found);
                let Some(target) = inside.instructions.iter().position(visible) else { continue };
                let mut label = role.clone();
                if let Some(trips) = view.while_loop(instruction).and_then(|l| l.trip_count)
                    && role == "body"
                {
                    label += &format!(" × {}", count(trips));
                }
                let colour = category::of(&instruction.opcode).ink;
                self.line(1, format_args!(
                    "n{i}_{n} -> n{called}_{target} [lhead=cluster_{called}, style=dashed, color=\"{colour}\", fontcolor=\"{colour}\", label={}];",
                    quoted(&label),
                ));
            }
        }
    }
}

/// Whether a computation lies in the cluster of the only one that calls it.
fn is_inner(computation: &Computation) -> bool {
    computation.parent.is_some() && computation.callers.len() == 1
}

/// The background of a computation: that of a loop is told from that of a fusion.
fn tint(opcode: &str, role: &str) -> &'static str {
    match (opcode, role) {
        ("while", "condition") => "#fdf5f8",
        ("while", _) => "#fff0f5",
        ("fusion", _) => "#f4f3fd",
        _ => "#f6f8fa",
    }
}

/// Whether an instruction is not a node of its own but a number at those that use it.
fn is_folded(computation: &Computation, instruction: &HloInstructionProto) -> bool {
    !computation.is_root(instruction) && folded_value(computation, instruction).is_some()
}

/// The value of a scalar constant, or of one that is broadcast.
fn folded_value(computation: &Computation, instruction: &HloInstructionProto) -> Option<String> {
    if instruction.opcode == "broadcast" {
        let operand = computation.operands(instruction).next()?;
        return (operand.opcode == "constant").then(|| folded_value(computation, operand))?;
    }
    let is_scalar = instruction.shape.as_ref()?.elements()? == 1;
    value(instruction).filter(|_| is_scalar)
}

/// The opcode in bold type and the name, or the name alone if it begins with the opcode.
fn title(instruction: &HloInstructionProto) -> String {
    let (opcode, name) = (&instruction.opcode, cut(&instruction.name));
    match opcode.as_str() {
        "parameter" => {
            format!("<B>parameter {}</B>  {}", instruction.parameter_number, escaped(&name))
        }
        "get-tuple-element" => format!("<B>element {}</B>", instruction.tuple_index),
        _ if name.starts_with(opcode.as_str()) => format!("<B>{}</B>", escaped(&name)),
        _ => format!("<B>{}</B>  {}", escaped(opcode), escaped(&name)),
    }
}

/// A shape; a tuple takes one line for each part.
fn shape_lines(shape: &ShapeProto) -> String {
    if !shape.is_tuple() {
        return escaped(&shape.to_string());
    }
    let parts = &shape.tuple_shapes;
    let shown = parts.iter().take(SHOWN_PARTS).map(|part| cut(&part.to_string()));
    let mut lines: Vec<String> = shown.map(|part| escaped(&part)).collect();
    if parts.len() > SHOWN_PARTS {
        lines.push(format!("… {} more", parts.len() - SHOWN_PARTS));
    }
    format!("({})", lines.join(",<BR/>"))
}

fn small(markup: &str) -> String {
    // Graphviz refuses a font element without text.
    if markup.is_empty() {
        return String::new();
    }
    format!("<FONT POINT-SIZE=\"9\" COLOR=\"#3d444d\">{markup}</FONT>")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A string of the language of Graphviz.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\0', "");
    format!("\"{}\"", text.replace('\n', "\\n").replace('\r', ""))
}
