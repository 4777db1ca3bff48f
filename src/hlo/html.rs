//! A module as one page for a browser, which needs nothing but itself.
//!
//! The page is complete without its script: the script adds the search, the filter by opcode and
//! the marks of definitions and uses. Its style and its script are `page.css` and `page.js`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use super::Module;
use super::category::{self, CATEGORIES};
use super::proto::{HloInstructionProto, ProgramShapeProto};
use super::view::{Caller, Computation, View, attributes, escaped, value};
use crate::quantity::{binary, count};

/// In a module of more instructions, computations of fusions and reducers begin closed.
const OPEN_BELOW: usize = 600;

/// The page may run its own script and use its own style, and load nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

impl Module {
    /// The module as an HTML page: its figures, the nest of its loops, and its computations with
    /// links from operands to their definitions. The page opens without a network.
    ///
    /// # Examples
    /// ```
    /// use onetrace::prelude::*;
    /// let double = jit(|x: Tensor| x * 2.0);
    /// let page = double.lower(Tensor::zeros([3], DType::F32))?.module()?.html();
    /// assert!(page.starts_with("<!doctype html>"));
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    pub fn html(&self) -> String {
        let mut page = Page { view: &View::new(self), html: String::new() };
        // Writing to a string cannot fail.
        _ = page.write();
        page.html
    }
}

struct Page<'a> {
    view: &'a View<'a>,
    html: String,
}

impl Page<'_> {
    fn write(&mut self) -> fmt::Result {
        let name = escaped(self.view.module.name());
        write!(
            self.html,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <title>{name} – HLO</title>\n<style>\n{style}",
            style = include_str!("page.css"),
        )?;
        for category::Category { key, ink, bright, .. } in &CATEGORIES {
            writeln!(self.html, ".{key} {{ --ink: light-dark({ink}, {bright}); }}")?;
        }
        write!(self.html, "</style>\n</head>\n<body>\n<header>\n<h1>{name}</h1>\n")?;
        self.figures()?;
        write!(self.html, "</header>\n<div class=\"columns\">\n<nav aria-label=\"Overview\">\n")?;
        self.html += SEARCH;
        self.loops()?;
        self.opcodes()?;
        write!(self.html, "</nav>\n<main>\n{TOOLS}")?;
        for i in 0..self.view.computations.len() {
            self.computation(i)?;
        }
        let script = include_str!("page.js");
        write!(self.html, "</main>\n</div>\n<script>\n{script}</script>\n</body>\n</html>\n")
    }

    /// The type of the program and the figures.
    fn figures(&mut self) -> fmt::Result {
        let shape = self.view.module.decoded().host_program_shape.as_ref();
        if let Some(ProgramShapeProto { parameters, result: Some(result), .. }) = shape {
            let parameters: Vec<String> = parameters.iter().map(ToString::to_string).collect();
            let parameters = escaped(&parameters.join(", "));
            let result = escaped(&result.to_string());
            writeln!(self.html, "<p class=\"type\">({parameters}) → {result}</p>")?;
        }
        let stats = &self.view.stats;
        let at_least = if stats.flops_are_lower_bound { "at least " } else { "" };
        let figures = [
            (stats.instructions, "instruction", String::new()),
            (stats.computations, "computation", String::new()),
            (stats.while_loops.len(), "While loop", String::new()),
            (stats.fusions, "fusion", String::new()),
            (stats.dots, "dot", format!("{at_least}{} FLOPs a run", count(stats.flops))),
            (stats.parameters, "parameter", binary(stats.parameter_bytes)),
        ];
        self.html += "<dl class=\"figures\">\n";
        for (number, thing, note) in figures {
            let (ending, separator) =
                (ending(number as u64), if note.is_empty() { "" } else { " · " });
            let number = count(number as u64);
            writeln!(
                self.html,
                "<div><dt>{thing}{ending}{separator}{note}</dt><dd>{number}</dd></div>",
            )?;
        }
        for (bytes, what) in [
            (stats.constant_bytes, "of constants"),
            (stats.proto_bytes, "as a protocol buffer"),
            (stats.text_bytes, "as text with short constants"),
        ] {
            writeln!(self.html, "<div><dt>{what}</dt><dd>{}</dd></div>", binary(bytes))?;
        }
        self.html += "</dl>\n";
        Ok(())
    }

    /// The nest of the loops as a list of lists.
    fn loops(&mut self) -> fmt::Result {
        let view = self.view;
        self.html += "<section id=\"loops\">\n<h2>Loop nest</h2>\n";
        let mut places = HashMap::new();
        for (i, computation) in view.computations.iter().enumerate() {
            let loops = computation.instructions.iter().enumerate();
            let loops = loops.filter(|(_, found)| found.opcode == "while");
            places.extend(loops.map(|(n, found)| (found.name.as_str(), (i, n, *found))));
        }
        let mut depth = 0;
        for found in &view.stats.while_loops {
            let Some(&(i, n, instruction)) = places.get(found.name.as_str()) else { continue };
            // A list for each level that begins here, the end of each that ended before.
            match found.depth + 1 {
                level if level > depth => self.html += &"<ul>\n<li>".repeat(level - depth),
                level => {
                    self.html += &"</li>\n</ul>\n".repeat(depth - level);
                    self.html += "</li>\n<li>";
                }
            }
            depth = found.depth + 1;
            let name = escaped(&found.name);
            let trips = match found.trip_count {
                Some(trips) => plural(trips, "iteration"),
                None => "iterations not known".to_owned(),
            };
            write!(
                self.html,
                "while <a class=\"flow name\" href=\"#c{i}-{n}\">{name}</a> <b>{trips}</b>"
            )?;
            let size = found.body_instructions as u64;
            for (role, called) in view.calls(instruction) {
                let name = escaped(&view.computations[called].proto.name);
                write!(self.html, "<div>{role} <a href=\"#c{called}\">{name}</a>")?;
                if role == "body" {
                    write!(self.html, " {}", plural(size, "instruction"))?;
                }
                self.html += "</div>";
            }
            if let Some(source) = self.source(instruction) {
                write!(self.html, "<div class=\"source\">{source}</div>")?;
            }
        }
        self.html += &"</li>\n</ul>\n".repeat(depth);
        if depth == 0 {
            self.html += "<p>No While loop: each instruction of the entry runs once.</p>\n";
        }
        self.html += "</section>\n";
        Ok(())
    }

    /// The opcodes by family, each with how often it occurs; the script makes filters of them.
    fn opcodes(&mut self) -> fmt::Result {
        self.html += "<section id=\"opcodes\">\n<h2>Opcodes</h2>\n";
        let mut families: BTreeMap<usize, Vec<(&str, usize)>> = BTreeMap::new();
        for (opcode, &times) in &self.view.stats.opcodes {
            let key = category::of(opcode).key;
            let family = CATEGORIES.iter().position(|category| category.key == key);
            families.entry(family.unwrap_or_default()).or_default().push((opcode, times));
        }
        for (family, mut opcodes) in families {
            let category::Category { key, title, .. } = CATEGORIES[family];
            opcodes.sort_by_key(|&(_, times)| std::cmp::Reverse(times));
            write!(self.html, "<h3 class=\"{key}\">{title}</h3>\n<p class=\"chips {key}\">")?;
            for (opcode, times) in opcodes {
                let (opcode, times) = (escaped(opcode), count(times as u64));
                write!(
                    self.html,
                    "<button type=\"button\" disabled data-opcode=\"{opcode}\">{opcode} \
                     <span>{times}</span></button> ",
                )?;
            }
            self.html += "</p>\n";
        }
        self.html += "</section>\n";
        Ok(())
    }

    fn computation(&mut self, i: usize) -> fmt::Result {
        let view = self.view;
        let computation = &view.computations[i];
        let small = |caller: &Caller| matches!(&*caller.role, "calls" | "to_apply");
        let is_open = view.stats.instructions <= OPEN_BELOW
            || computation.callers.is_empty()
            || !computation.callers.iter().all(small);
        let open = if is_open { " open" } else { "" };
        let name = escaped(&computation.proto.name);
        let size = plural(computation.instructions.len() as u64, "instruction");
        let entry = if view.is_entry(computation) { "<em>ENTRY</em> " } else { "" };
        write!(
            self.html,
            "<details id=\"c{i}\"{open}>\n<summary>{entry}<strong>{name}</strong> \
             <span class=\"size\">{size}</span>",
        )?;
        if let Some(caller) = computation.callers.first() {
            let from = &view.computations[caller.computation];
            let n = from.position(caller.instruction.id).unwrap_or_default();
            let family = category::of(&caller.instruction.opcode).key;
            write!(
                self.html,
                " <span class=\"caller\">{} of <a class=\"{family} name\" href=\"#c{}-{n}\">{}</a>",
                if caller.role == "calls" { &caller.instruction.opcode } else { &caller.role },
                caller.computation,
                escaped(&caller.instruction.name),
            )?;
            let others = computation.callers.len() as u64 - 1;
            if others > 0 {
                write!(self.html, " and {}", plural(others, "other place"))?;
            }
            let trips = view.while_loop(caller.instruction).and_then(|found| found.trip_count);
            if let Some(trips) = trips.filter(|_| caller.role == "body") {
                write!(self.html, " <b>× {}</b>", count(trips))?;
            }
            self.html += "</span>";
        }
        self.html += "</summary>\n<ol>\n";
        for n in 0..computation.instructions.len() {
            self.instruction(i, n, computation)?;
        }
        self.html += "</ol>\n</details>\n";
        Ok(())
    }

    fn instruction(&mut self, i: usize, n: usize, computation: &Computation) -> fmt::Result {
        let view = self.view;
        let instruction = computation.instructions[n];
        let family = category::of(&instruction.opcode).key;
        let root = if computation.is_root(instruction) { "<em>ROOT</em> " } else { "" };
        let name = escaped(&instruction.name);
        let shape = instruction.shape.as_ref().map(|shape| escaped(&shape.to_string()));
        write!(
            self.html,
            "<li id=\"c{i}-{n}\" class=\"{family}\"><span>{root}<a class=\"name\" \
             href=\"#c{i}-{n}\">{name}</a></span><span class=\"shape\">{shape}</span><span><b>{}</b>(",
            escaped(&instruction.opcode),
            shape = shape.unwrap_or_default(),
        )?;
        if let Some(constant) = value(instruction) {
            self.html += &escaped(&constant);
        }
        if instruction.opcode == "parameter" {
            write!(self.html, "{}", instruction.parameter_number)?;
        }
        for (k, operand) in computation.operands(instruction).enumerate() {
            let separator = if k == 0 { "" } else { ", " };
            let at = computation.position(operand.id).unwrap_or_default();
            let name = escaped(&operand.name);
            write!(self.html, "{separator}<a href=\"#c{i}-{at}\">{name}</a>")?;
        }
        self.html += ")";
        for attribute in attributes(instruction) {
            write!(self.html, " <i>{}</i>", escaped(&attribute))?;
        }
        for (role, called) in view.calls(instruction) {
            let name = escaped(&view.computations[called].proto.name);
            write!(self.html, " <i>{role}=<a href=\"#c{called}\">{name}</a></i>")?;
        }
        if let Some(trips) = view.while_loop(instruction).and_then(|found| found.trip_count) {
            write!(self.html, " <strong>× {}</strong>", count(trips))?;
        }
        self.html += "</span>";
        let scope = instruction.metadata.as_ref().map(|metadata| escaped(&metadata.op_name));
        let scope = scope.unwrap_or_default();
        let source = self.source(instruction);
        if !scope.is_empty() || source.is_some() {
            write!(self.html, "<span class=\"from\">{scope}")?;
            if let Some(source) = source {
                write!(self.html, " <span class=\"source\">{source}</span>")?;
            }
            self.html += "</span>";
        }
        self.html += "</li>\n";
        Ok(())
    }

    /// The user's file and line, escaped.
    fn source(&self, instruction: &HloInstructionProto) -> Option<String> {
        let (file, line) = self.view.module.source(instruction)?;
        Some(escaped(&format!("{file}:{line}")))
    }
}

/// What only works with the script, which shows it.
const SEARCH: &str = "\
<div class=\"search\" role=\"search\" hidden>
<label for=\"find\">Find</label>
<input id=\"find\" type=\"search\" placeholder=\"name, opcode, shape, scope, file\" autocomplete=\"off\" \
spellcheck=\"false\" aria-keyshortcuts=\"/\">
<kbd>/</kbd>
</div>
";

/// As [`SEARCH`].
const TOOLS: &str = "\
<div class=\"tools\" hidden>
<output for=\"find\"></output>
<button type=\"button\" id=\"clear\" hidden>Clear the filter</button>
<button type=\"button\" id=\"open\">Open all</button>
<button type=\"button\" id=\"close\">Close all</button>
</div>
";

/// A number of things.
fn plural(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), ending(number))
}

fn ending(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}
