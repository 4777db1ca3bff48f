//! The plots, as SVG.
//!
//! They are written with the templates of the page instead of a plotting library because their
//! colours are CSS: one picture suits a light and a dark page, and every point says its value when
//! it is pointed at.

use std::ops::Range;

use maud::{Markup, PreEscaped, html};

use super::document::{Document, Row};
use super::format;
use super::measure::{Figures, Variant};
use super::words;
use crate::quantity::count;

/// What a plot shows over the number of steps, both axes logarithmic.
pub struct Plot {
    title: &'static str,
    unit: Unit,
    value: fn(&Figures) -> f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Count,
    Bytes,
    Seconds,
}

impl Unit {
    /// A value with its unit.
    fn show(self, value: f64) -> String {
        match self {
            Unit::Count => count(value as u64),
            Unit::Bytes => format::bytes(value),
            Unit::Seconds => format::seconds(value),
        }
    }

    /// A value with one digit that is not zero, such as 20,000, in the short form of an axis:
    /// `20k`.
    fn tick(self, digit: u64, exponent: i32) -> String {
        let (names, least) = match self {
            Unit::Count => (["", "k", "M", "G", "T"], 0),
            Unit::Bytes => ([" B", " kB", " MB", " GB", " TB"], 0),
            Unit::Seconds => ([" ns", " µs", " ms", " s", "·10³ s"], -9),
        };
        let steps = (exponent - least).max(0);
        let name = names[(steps as usize / 3).min(names.len() - 1)];
        format!("{}{name}", digit * 10_u64.pow(steps as u32 % 3))
    }
}

pub static PLOTS: [Plot; 6] = [
    Plot {
        title: "Times the step closure ran",
        unit: Unit::Count,
        value: |figures| figures.body_traces as f64,
    },
    Plot {
        title: "HLO instructions",
        unit: Unit::Count,
        value: |figures| figures.instructions as f64,
    },
    Plot {
        title: "Size of the HLO",
        unit: Unit::Bytes,
        value: |figures| figures.proto_bytes as f64,
    },
    Plot {
        title: "Time to trace and lower",
        unit: Unit::Seconds,
        value: |figures| (figures.trace + figures.lower).as_secs_f64(),
    },
    Plot {
        title: "Time to compile",
        unit: Unit::Seconds,
        value: |figures| figures.compile.as_secs_f64(),
    },
    Plot {
        title: "Time of a run",
        unit: Unit::Seconds,
        value: |figures| figures.run.as_secs_f64(),
    },
];

/// The size of a plot, and where its axes are in it.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 312.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 208.0;

/// The colours of Okabe and Ito: blue and vermilion, or sky blue and orange on a dark ground. Text
/// in vermilion is darkened until it can be read.
pub const COLOURS: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--muted:#5c5c5c;--grid:#e4e4e4;\
--scan:#0072b2;--scan-text:#0069a4;--unrolled:#d55e00;--unrolled-text:#b04d00}\
@media(prefers-color-scheme:dark){:root{--paper:#16181b;--ink:#ececec;--muted:#a9adb3;\
--grid:#33373c;--scan:#56b4e9;--scan-text:#56b4e9;--unrolled:#e69f00;--unrolled-text:#e69f00}}";

pub const STYLE: &str = "\
svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\
svg text{fill:var(--ink);font-size:12px}\
svg .title{font-size:14px;font-weight:600}\
svg .muted{fill:var(--muted);font-size:11.5px}\
svg .factor{fill:var(--ink);font-weight:600}\
svg .grid{stroke:var(--grid)}\
svg .axis{stroke:var(--muted)}\
svg polyline{fill:none;stroke-width:2;stroke-linejoin:round}\
svg .scan{stroke:var(--scan)}\
svg .unrolled{stroke:var(--unrolled)}\
svg .mark{stroke:var(--paper)}\
svg .mark.scan{fill:var(--scan)}\
svg .mark.unrolled{fill:var(--unrolled)}\
svg .label{stroke:var(--paper);stroke-width:3;stroke-linejoin:round;paint-order:stroke;\
font-weight:600;font-size:13px}\
svg .label.scan{fill:var(--scan-text)}\
svg .label.unrolled{fill:var(--unrolled-text)}";

/// A logarithmic axis.
struct Axis {
    values: Range<f64>,
    pixels: Range<f64>,
}

impl Axis {
    /// An axis for these values, and for a range of at least a factor of `least`, with as many
    /// pixels free at its two ends as `free` says.
    fn new(values: &[f64], least: f64, pixels: Range<f64>, free: [f64; 2]) -> Axis {
        let [before, after] = free;
        let logs = values.iter().map(|value| value.max(1e-9).log10());
        let start = logs.clone().fold(f64::INFINITY, f64::min);
        let span = (logs.fold(f64::NEG_INFINITY, f64::max) - start).max(least.log10());
        let scale = span / ((pixels.end - pixels.start).abs() - before - after);
        Axis { values: start - before * scale..start + span + after * scale, pixels }
    }

    fn at(&self, value: f64) -> f64 {
        let part =
            (value.max(1e-9).log10() - self.values.start) / (self.values.end - self.values.start);
        self.pixels.start + part * (self.pixels.end - self.pixels.start)
    }

    /// Digits and exponents of the values to name: powers of ten, as many as leave 16 pixels
    /// between them, and twice and five times those where there would be only one of them.
    fn ticks(&self) -> Vec<(u64, i32)> {
        let Range { start, end } = self.values;
        let apart = (self.pixels.end - self.pixels.start).abs() / (end - start);
        let decades = (start.ceil() as i32..=end.floor() as i32)
            .step_by((16.0 / apart).ceil() as usize)
            .map(|exponent| (1, exponent))
            .collect::<Vec<_>>();
        if decades.len() > 1 {
            return decades;
        }
        let values = (start.floor() as i32..=end.floor() as i32)
            .flat_map(|exponent| [1, 2, 5].map(|digit| (digit, exponent)));
        values.filter(|(d, e)| (start..end).contains(&((*d as f64).log10() + *e as f64))).collect()
    }
}

/// A number of pixels.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

/// The points of a variant: steps and values.
fn points<'a>(
    document: &'a Document,
    plot: &Plot,
    variant: Variant,
) -> impl Iterator<Item = (usize, f64)> + Clone + use<'a> {
    let value = plot.value;
    let point = move |row: &Row| Some((row.steps, value(row.figures(variant)?)));
    document.rows.iter().filter_map(point)
}

/// The axis of the values. The plots of times have the same one, so that they can be compared.
fn vertical(document: &Document, plot: &Plot) -> Axis {
    let together = |other: &&Plot| match plot.unit {
        Unit::Seconds => other.unit == Unit::Seconds,
        _ => std::ptr::eq(*other, plot),
    };
    let values: Vec<f64> = PLOTS
        .iter()
        .filter(together)
        .flat_map(|plot| Variant::ALL.into_iter().flat_map(|v| points(document, plot, v)))
        .map(|(_, value)| value)
        .collect();
    Axis::new(&values, 10.0, BOTTOM..TOP, [26.0, 22.0])
}

impl Plot {
    /// The values at the largest number of steps that both loops were measured for.
    fn summary(&self, document: &Document) -> Option<Markup> {
        let mut rows = document.rows.iter().rev();
        let (steps, scan, unrolled) =
            rows.find_map(|row| Some((row.steps, row.scan.as_ref()?, row.unrolled.as_ref()?)))?;
        let (scan, unrolled) = ((self.value)(scan), (self.value)(unrolled));
        Some(html! {
            text.muted x="0" y="38" {
                "T = " (count(steps as u64)) ": scan " (self.unit.show(scan))
                ", unrolled " (self.unit.show(unrolled))
                tspan.factor { " (×" (format::significant(unrolled / scan)) ")" }
            }
        })
    }

    /// What the plot shows, for those who do not see it.
    fn description(&self, document: &Document) -> String {
        let ends = Variant::ALL.into_iter().filter_map(|variant| {
            let points = points(document, self, variant);
            let ((t1, first), (t2, last)) = (points.clone().next()?, points.last()?);
            let (t1, t2) = (count(t1 as u64), count(t2 as u64));
            let (first, last) = (self.unit.show(first), self.unit.show(last));
            Some(format!("{}: {first} at T = {t1}, {last} at T = {t2}.", variant.name()))
        });
        ends.collect::<Vec<_>>().join(" ")
    }

    /// What is inside of the `svg` element of a plot, `WIDTH` times `HEIGHT`.
    fn draw(&self, document: &Document) -> Markup {
        let steps: Vec<f64> = document.rows.iter().map(|row| row.steps as f64).collect();
        let x = Axis::new(&steps, 2.0, LEFT..RIGHT, [12.0, 12.0]);
        let y = vertical(document, self);
        // Every so many powers of two, so that their labels stay apart.
        let powers: Vec<usize> =
            document.rows.iter().map(|row| row.steps).filter(|t| t.is_power_of_two()).collect();
        let every = powers.len().div_ceil(6).max(1);
        html! {
            text.title x="0" y="18" { (self.title) }
            @if let Some(summary) = self.summary(document) { (summary) }
            @for (digit, exponent) in y.ticks() {
                @let at = y.at(digit as f64 * 10_f64.powi(exponent));
                line.grid x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(at)) y2=(px(at)) {}
                text.muted x=(px(LEFT - 8.0)) y=(px(at + 4.0)) text-anchor="end" {
                    (self.unit.tick(digit, exponent))
                }
            }
            line.axis x1=(px(LEFT)) x2=(px(RIGHT)) y1=(px(BOTTOM)) y2=(px(BOTTOM)) {}
            @for t in powers.into_iter().step_by(every) {
                @let at = px(x.at(t as f64));
                line.axis x1=(at) x2=(at) y1=(px(BOTTOM)) y2=(px(BOTTOM + 4.0)) {}
                text.muted x=(at) y=(px(BOTTOM + 18.0)) text-anchor="middle" {
                    (count(t as u64))
                }
            }
            text.muted x=(px((LEFT + RIGHT) / 2.0)) y=(px(BOTTOM + 36.0)) text-anchor="middle" {
                "steps T"
            }
            @for variant in Variant::ALL.into_iter().rev() {
                (self.line(document, variant, &x, &y))
            }
            @for variant in Variant::ALL { (self.label(document, variant, &x, &y)) }
        }
    }

    fn line(&self, document: &Document, variant: Variant, x: &Axis, y: &Axis) -> Markup {
        let at = |(t, value): (usize, f64)| (x.at(t as f64), y.at(value));
        let points = points(document, self, variant);
        let path: Vec<String> =
            points.clone().map(at).map(|(x, y)| format!("{},{}", px(x), px(y))).collect();
        let name = variant.name();
        html! {
            polyline class=(name) points=(path.join(" ")) {}
            @for (t, value) in points {
                @let (x, y) = at((t, value));
                @let tip = html! {
                    title {
                        (name) ", T = " (count(t as u64)) ": " (self.unit.show(value))
                    }
                };
                // The marks differ in form too, for prints without colour.
                @match variant {
                    Variant::Scan => circle class={ "mark " (name) } cx=(px(x)) cy=(px(y)) r="4" {
                        (tip)
                    },
                    Variant::Unrolled => rect class={ "mark " (name) }
                        x=(px(x - 3.5)) y=(px(y - 3.5)) width="7" height="7" { (tip) },
                }
            }
        }
    }

    /// The name of a line, at its last point and on the side where the other line is not.
    fn label(&self, document: &Document, variant: Variant, x: &Axis, y: &Axis) -> Markup {
        let Some((t, value)) = points(document, self, variant).last() else {
            return html! {};
        };
        let other = Variant::ALL.into_iter().find(|other| *other != variant);
        let other = other.and_then(|other| points(document, self, other).find(|p| p.0 == t));
        let below = other.is_some_and(|(_, other)| {
            let above = y.at(value) - y.at(other);
            (0.0..40.0).contains(&above) && (above > 0.0 || variant == Variant::Scan)
        });
        let (x, y) = (x.at(t as f64), y.at(value) + if below { 18.0 } else { -9.0 });
        // To the left of the point, where there is space.
        let (x, anchor) = if x > LEFT + 80.0 { (x + 5.0, "end") } else { (x - 5.0, "start") };
        html! {
            text class={ "label " (variant.name()) } x=(px(x)) y=(px(y)) text-anchor=(anchor) {
                (variant.name())
            }
        }
    }

    /// The plot as an element of a page.
    pub fn svg(&self, document: &Document) -> Markup {
        html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={
                (self.title) " over the number of steps T, both axes logarithmic. "
                (self.description(document))
            } { (self.draw(document)) }
        }
    }
}

/// All plots in one picture, a file of its own.
pub fn sheet(document: &Document) -> String {
    let heading = format!("{}. {}", words::TITLE, words::subject(document));
    let mut notes = words::notes(document);
    notes.push(words::origin(document));
    const COLUMNS: usize = 3;
    const HEAD: f64 = 52.0;
    const MARGIN: f64 = 16.0;
    const GAP: f64 = 16.0;
    const FOOT: f64 = 14.0;
    const LINE: f64 = 18.0;
    let width = 2.0 * MARGIN + COLUMNS as f64 * (WIDTH + GAP) - GAP;
    let plots = (HEIGHT + GAP) * PLOTS.len().div_ceil(COLUMNS) as f64 - GAP;
    let height = HEAD + plots + FOOT + LINE * notes.len() as f64;
    let corner = |i: usize| {
        let (column, row) = ((i % COLUMNS) as f64, (i / COLUMNS) as f64);
        format!("translate({} {})", MARGIN + column * (WIDTH + GAP), HEAD + row * (HEIGHT + GAP))
    };
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) }
            width=(width) height=(height) role="img" aria-labelledby="title description" {
            title id="title" { (heading) }
            desc id="description" {
                @for plot in &PLOTS {
                    (plot.title) ". " (plot.description(document)) " "
                }
            }
            style { (PreEscaped(COLOURS)) (PreEscaped(STYLE)) }
            rect width="100%" height="100%" style="fill:var(--paper)" {}
            text x=(MARGIN) y="30" style="font-size:17px;font-weight:600" { (heading) }
            @for (i, plot) in PLOTS.iter().enumerate() {
                g transform=(corner(i)) { (plot.draw(document)) }
            }
            @for (i, note) in notes.iter().enumerate() {
                text.muted x=(MARGIN) y=(px(HEAD + plots + LINE * (i as f64 + 1.0))) { (note) }
            }
        }
    };
    picture.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        assert_eq!(
            [0, 1, 3, 5, 6].map(|e| Unit::Count.tick(1, e)),
            ["1", "10", "1k", "100k", "1M"]
        );
        assert_eq!([2, 5].map(|digit| Unit::Count.tick(digit, 4)), ["20k", "50k"]);
        assert_eq!([2, 3, 7].map(|e| Unit::Bytes.tick(1, e)), ["100 B", "1 kB", "10 MB"]);
        assert_eq!(
            [-6, -5, -3, 0, 2].map(|e| Unit::Seconds.tick(1, e)),
            ["1 µs", "10 µs", "1 ms", "1 s", "100 s"]
        );
    }

    #[test]
    fn an_axis_has_space_at_its_ends() {
        let axis = Axis::new(&[1.0, 100.0], 10.0, 200.0..0.0, [20.0, 30.0]);
        assert_eq!((axis.at(1.0).round(), axis.at(100.0).round()), (180.0, 30.0));
        assert_eq!(axis.ticks(), [0, 1, 2].map(|e| (1, e)));
    }

    /// One point, or values that do not change, still make an axis.
    #[test]
    fn an_axis_has_a_range() {
        let axis = Axis::new(&[1.0], 10.0, 0.0..100.0, [10.0, 10.0]);
        assert_eq!((axis.at(1.0).round(), axis.at(10.0).round()), (10.0, 90.0));
        let axis = Axis::new(&[52.0], 10.0, 0.0..100.0, [0.0, 0.0]);
        assert_eq!(axis.ticks(), [(1, 2), (2, 2), (5, 2)]);
    }

    #[test]
    fn many_decades_are_thinned() {
        let axis = Axis::new(&[1e-6, 1e6], 10.0, 150.0..0.0, [0.0, 0.0]);
        assert_eq!(axis.ticks(), [-6, -4, -2, 0, 2, 4, 6].map(|e| (1, e)));
    }
}
