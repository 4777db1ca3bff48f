//! A module as a graph for Graphviz.

use std::fmt::Write;

use super::Module;
use super::category;
use super::graph::Place;
use super::proto::{HloInstructionProto, ShapeProto};
use super::view::{Caller, View, attributes, escaped, value};
use crate::quantity::count;

/// A tuple of more parts is shown with the number of the rest.
const SHOWN_PARTS: usize = 8;

/// Longer attributes and names are cut, so that a node stays narrow.
const SHOWN_CHARS: usize = 60;

/// Instructions whose edges need no numbers: the operands can change places, or are all alike.
const UNNUMBERED: [&str; 8] =
    ["add", "and", "maximum", "minimum", "multiply", "or", "tuple", "xor"];

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
    Close,
}

/// How the whole and what has no looks of its own is drawn.
const LOOKS: &str = "\
  graph [compound=true, newrank=true, nodesep=0.25, ranksep=0.35, labeljust=l, bgcolor=white,
    fontname=\"Helvetica,Arial,sans-serif\", fontsize=12];
  node [shape=box, style=\"filled,rounded\", margin=\"0.09,0.05\",
    fontname=\"Helvetica,Arial,sans-serif\", fontsize=10, fontcolor=\"#1f2328\"];
  edge [color=\"#6e7781\", fontcolor=\"#59636e\", arrowsize=0.6,
    fontname=\"Helvetica,Arial,sans-serif\", fontsize=8];
";

impl Graph<'_> {
    fn line(&mut self, depth: usize, line: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        _ = writeln!(self.text, "{:1$}{line}", "", 2 * depth);
    }

    fn write(&mut self) {
        let view = self.view;
        self.line(0, format_args!("digraph {} {{", quoted(view.module.name())));
        self.text += LOOKS;
        let mut children = vec![Vec::new(); view.order.len()];
        let mut steps = Vec::new();
        for &c in view.order.iter().filter(|&&c| self.is_drawn(c)) {
            match view.only_parent(c) {
                Some(parent) => children[parent].push(c),
                None => steps.push(Step::Open(c)),
            }
        }
        steps.reverse();
        let mut depth = 1;
        while let Some(step) = steps.pop() {
            match step {
                Step::Open(c) => {
                    self.open(c, depth);
                    depth += 1;
                    steps.push(Step::Close);
                    steps.extend(children[c].iter().rev().map(|&child| Step::Open(child)));
                }
                Step::Close => {
                    depth -= 1;
                    self.line(depth, format_args!("}}"));
                }
            }
        }
        for &c in &view.order {
            if self.is_drawn(c) {
                self.edges(c);
            }
        }
        self.line(0, format_args!("}}"));
    }

    /// Whether a computation is more than a reducer that is named where it is applied.
    fn is_drawn(&self, c: usize) -> bool {
        let callers = self.view.callers(c);
        let applied = |caller: &Caller| {
            caller.role == "to_apply" && self.view.instruction(caller.place).opcode != "call"
        };
        callers.is_empty() || !callers.iter().all(applied) || self.view.only_opcode(c).is_none()
    }

    /// Begins a cluster and writes its nodes.
    fn open(&mut self, c: usize, depth: usize) {
        let view = self.view;
        let (mut title, mut colour, mut fill) = (String::new(), "#8c959f", "#ffffff");
        let callers = view.callers(c);
        if let Some(Caller { place, role }) = callers.first() {
            let HloInstructionProto { opcode, name, .. } = view.instruction(*place);
            (colour, fill) = (category::of(opcode).ink, tint(opcode, role));
            title = match role.as_str() {
                "calls" | "to_apply" => format!("{opcode} {name}"),
                role => format!("{role} of {name}"),
            };
            if callers.len() > 1 {
                title += &format!(" and {} more", callers.len() - 1);
            }
        }
        if view.graph.entry() == Some(c) {
            title = "ENTRY".to_owned();
        }
        let (name, title) = (escaped(&view.graph.computation(c).name), escaped(&title));
        self.line(depth, format_args!("subgraph cluster_{c} {{"));
        self.line(
            depth + 1,
            format_args!("label=<<B>{name}</B>  <FONT COLOR=\"#59636e\">{title} </FONT>>;"),
        );
        self.line(
            depth + 1,
            format_args!(
                "style=\"rounded,filled\"; color=\"{colour}\"; fillcolor=\"{fill}\"; margin=10;",
            ),
        );
        for place in view.instructions(c) {
            if !self.is_folded(place) {
                self.node(place, depth + 1);
            }
        }
    }

    fn node(&mut self, place: Place, depth: usize) {
        let view = self.view;
        let instruction = view.instruction(place);
        let category = category::of(&instruction.opcode);
        let mut lines = vec![title(instruction)];
        if let Some(shape) = &instruction.shape {
            lines.push(small(&shape_lines(shape)));
        }
        if let Some(constant) = value(instruction) {
            lines.push(escaped(&constant));
            // A tensor with a name, as parameters of modules have, tells it there.
            let name = instruction.metadata.as_ref().map_or("", |metadata| &metadata.op_name);
            if let Some(name) = name.strip_suffix("/constant") {
                lines.push(format!("<I>{}</I>", escaped(&cut(name))));
            }
        }
        if let Some(found) = view.while_loop(place) {
            let times = found.trip_count.map_or("an unknown number of".to_owned(), count);
            lines.push(format!("<B>{times} iterations</B>"));
        }
        lines.extend(self.details(place).iter().map(|detail| small(&escaped(&cut(detail)))));
        let mut looks = format!("fillcolor=\"{}\", color=\"{}\"", category.fill, category.ink);
        if view.is_root(place) {
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
        let (label, tooltip) = (lines.join("<BR/>"), quoted(&tooltip));
        let node = node(place);
        self.line(depth, format_args!("{node} [label=<{label}>, {looks}, tooltip={tooltip}];"));
    }

    /// What an instruction says besides its type: attributes, reducers, scalar operands.
    fn details(&self, place: Place) -> Vec<String> {
        let view = self.view;
        let mut details = attributes(view.instruction(place));
        // That of a `get-tuple-element` is its title.
        details.retain(|attribute| !attribute.starts_with("index="));
        for (role, called) in view.calls(place) {
            if let Some(opcode) = view.only_opcode(called).filter(|_| !self.is_drawn(called)) {
                details.push(format!("{role}={opcode}"));
            }
        }
        for (position, operand) in view.operands(place).enumerate() {
            if let Some(constant) = self.folded_value(operand) {
                let is_broadcast = view.instruction(operand).opcode == "broadcast";
                let everywhere = if is_broadcast { " everywhere" } else { "" };
                details.push(format!("operand {position} = {constant}{everywhere}"));
            }
        }
        details
    }

    /// Writes where the operands of the instructions come from and what they call.
    fn edges(&mut self, c: usize) {
        let view = self.view;
        for place in view.instructions(c) {
            if self.is_folded(place) {
                continue;
            }
            let (to, opcode) = (node(place), view.instruction(place).opcode.as_str());
            let operands: Vec<Place> = view.operands(place).collect();
            let numbered = operands.len() > 1 && !UNNUMBERED.contains(&opcode);
            for (position, &operand) in operands.iter().enumerate() {
                if self.folded_value(operand).is_some() {
                    continue;
                }
                let from = node(operand);
                let label =
                    if numbered { format!(" [headlabel={position}]") } else { String::new() };
                self.line(1, format_args!("{from} -> {to}{label};"));
            }
            for (role, called) in view.calls(place) {
                self.call(place, &role, called);
            }
        }
    }

    /// Writes the edge from an instruction to what it calls.
    fn call(&mut self, place: Place, role: &str, called: usize) {
        let view = self.view;
        // An edge needs a node; the cluster around it is where it ends.
        let inside = view.instructions(called).into_iter().find(|&inside| !self.is_folded(inside));
        let Some(inside) = inside.filter(|_| self.is_drawn(called)) else { return };
        let trips = view.while_loop(place).and_then(|found| found.trip_count);
        let label = match trips {
            Some(trips) if role == "body" => format!("{role} × {}", count(trips)),
            _ => role.to_owned(),
        };
        let colour = category::of(&view.instruction(place).opcode).ink;
        let (from, to, label) = (node(place), node(inside), quoted(&label));
        self.line(
            1,
            format_args!(
                "{from} -> {to} [lhead=cluster_{called}, style=dashed, label={label}, \
                 color=\"{colour}\", fontcolor=\"{colour}\"];"
            ),
        );
    }

    /// Whether an instruction is not a node of its own but a number at those that use it.
    fn is_folded(&self, place: Place) -> bool {
        !self.view.is_root(place) && self.folded_value(place).is_some()
    }

    /// The value of a scalar constant, or of one that is broadcast.
    fn folded_value(&self, place: Place) -> Option<String> {
        let instruction = self.view.instruction(place);
        if instruction.opcode == "broadcast" {
            let operand = self.view.operands(place).next()?;
            let is_constant = self.view.instruction(operand).opcode == "constant";
            return is_constant.then(|| self.folded_value(operand))?;
        }
        let is_scalar = instruction.shape.as_ref()?.elements()? == 1;
        value(instruction).filter(|_| is_scalar)
    }
}

/// The name of a node.
fn node((c, i): Place) -> String {
    format!("n{c}_{i}")
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
