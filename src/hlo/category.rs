//! Families of opcodes and their colours, which the graph and the page share.

/// Opcodes that do the same kind of work, and how they are drawn.
#[derive(Debug)]
pub(crate) struct Category {
    /// A word for it that can be the name of a class in CSS.
    pub key: &'static str,
    /// What it is called before a reader.
    pub title: &'static str,
    /// Text and lines on a light background.
    pub ink: &'static str,
    /// A surface behind dark text.
    pub fill: &'static str,
    /// Text and lines on a dark background.
    pub bright: &'static str,
    /// The opcodes that belong to it; those of `other` are all the rest.
    opcodes: &'static [&'static str],
}

/// All families, in the order in which a legend lists them.
pub(crate) const CATEGORIES: [Category; 12] = [
    Category {
        key: "flow",
        title: "control flow",
        ink: "#b3124f",
        fill: "#fbd5e2",
        bright: "#ff8fb4",
        opcodes: &["while", "conditional", "call", "async-start", "async-update", "async-done"],
    },
    Category {
        key: "matrix",
        title: "matrix products",
        ink: "#a83c08",
        fill: "#fcdcc8",
        bright: "#ff9f68",
        opcodes: &[
            "dot",
            "ragged-dot",
            "scaled-dot",
            "convolution",
            "cholesky",
            "triangular-solve",
            "fft",
        ],
    },
    Category {
        key: "fusion",
        title: "fusions",
        ink: "#4a41b5",
        fill: "#dfdcfa",
        bright: "#b0a9ff",
        opcodes: &["fusion"],
    },
    Category {
        key: "elementwise",
        title: "element-wise",
        ink: "#14713f",
        fill: "#d3efdd",
        bright: "#6fd69c",
        opcodes: &[
            "abs",
            "acos",
            "acosh",
            "add",
            "and",
            "asin",
            "asinh",
            "atan2",
            "atanh",
            "bitcast-convert",
            "cbrt",
            "ceil",
            "clamp",
            "compare",
            "complex",
            "convert",
            "cosh",
            "cosine",
            "count-leading-zeros",
            "divide",
            "erf",
            "exponential",
            "exponential-minus-one",
            "floor",
            "imag",
            "is-finite",
            "log",
            "log-plus-one",
            "logistic",
            "maximum",
            "minimum",
            "multiply",
            "negate",
            "not",
            "or",
            "popcnt",
            "power",
            "real",
            "reduce-precision",
            "remainder",
            "round-nearest-afz",
            "round-nearest-even",
            "rsqrt",
            "select",
            "shift-left",
            "shift-right-arithmetic",
            "shift-right-logical",
            "sign",
            "sine",
            "sinh",
            "sqrt",
            "stochastic-convert",
            "subtract",
            "tan",
            "tanh",
            "xor",
        ],
    },
    Category {
        key: "reduction",
        title: "reductions and sorts",
        ink: "#86308c",
        fill: "#f2d8f4",
        bright: "#e79ceb",
        opcodes: &["map", "reduce", "reduce-window", "scan", "select-and-scatter", "sort", "topk"],
    },
    Category {
        key: "indexing",
        title: "indexing",
        ink: "#0a6475",
        fill: "#cdebf1",
        bright: "#5fd0e3",
        opcodes: &["dynamic-slice", "dynamic-update-slice", "gather", "scatter"],
    },
    Category {
        key: "movement",
        title: "shape and layout",
        ink: "#735a00",
        fill: "#f5eabb",
        bright: "#e0c65a",
        opcodes: &[
            "bitcast",
            "broadcast",
            "concatenate",
            "copy",
            "copy-done",
            "copy-start",
            "dynamic-reshape",
            "get-dimension-size",
            "pad",
            "reshape",
            "reverse",
            "set-dimension-size",
            "slice",
            "transpose",
        ],
    },
    Category {
        key: "communication",
        title: "between devices",
        ink: "#7d4427",
        fill: "#eddbd0",
        bright: "#d9a688",
        opcodes: &[
            "all-gather",
            "all-gather-done",
            "all-gather-start",
            "all-reduce",
            "all-reduce-done",
            "all-reduce-start",
            "all-to-all",
            "collective-broadcast",
            "collective-permute",
            "collective-permute-done",
            "collective-permute-start",
            "infeed",
            "outfeed",
            "partition-id",
            "ragged-all-to-all",
            "recv",
            "recv-done",
            "reduce-scatter",
            "replica-id",
            "send",
            "send-done",
        ],
    },
    Category {
        key: "input",
        title: "parameters",
        ink: "#1b57a0",
        fill: "#d5e5f8",
        bright: "#82baff",
        opcodes: &["parameter"],
    },
    Category {
        key: "constant",
        title: "constants",
        ink: "#4c5663",
        fill: "#e3e7ec",
        bright: "#a9b5c4",
        opcodes: &["constant", "iota"],
    },
    Category {
        key: "structure",
        title: "tuples and order",
        ink: "#646d79",
        fill: "#f2f3f5",
        bright: "#8f9bab",
        opcodes: &[
            "add-dependency",
            "after-all",
            "domain",
            "get-tuple-element",
            "opt-barrier",
            "optimization-barrier",
            "tuple",
        ],
    },
    Category {
        key: "other",
        title: "other",
        ink: "#333333",
        fill: "#ffffff",
        bright: "#e0e0e0",
        opcodes: &[],
    },
];

/// The family of an opcode, which is `other` for one that is not known here.
pub(crate) fn of(opcode: &str) -> &'static Category {
    let found = CATEGORIES.iter().find(|category| category.opcodes.contains(&opcode));
    found.unwrap_or(&CATEGORIES[CATEGORIES.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of `#rrggbb`, as WCAG 2 defines it.
    fn luminance(colour: &str) -> f64 {
        let channel = |i: usize| {
            let value = f64::from(u8::from_str_radix(&colour[i..i + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_in_every_colour_can_be_read() {
        for category in &CATEGORIES {
            // The backgrounds of page.css, and the text of the graph; 4.5 is WCAG's level AA.
            assert!(contrast(category.ink, "#ffffff") >= 4.5, "{category:?}");
            assert!(contrast(category.bright, "#161b22") >= 4.5, "{category:?}");
            assert!(contrast(category.fill, "#1f2328") >= 4.5, "{category:?}");
        }
    }

    #[test]
    fn an_opcode_has_one_family() {
        let mut seen = std::collections::BTreeSet::new();
        for opcode in CATEGORIES.iter().flat_map(|category| category.opcodes) {
            assert!(seen.insert(opcode), "{opcode} is in two families");
        }
        assert_eq!(of("dot").key, "matrix");
        assert_eq!(of("an-opcode-of-tomorrow").key, "other");
        assert_eq!(CATEGORIES[CATEGORIES.len() - 1].key, "other");
    }
}
