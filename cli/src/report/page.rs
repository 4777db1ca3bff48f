//! `report.html`: one page without scripts that needs no network.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::document::{Document, Row};
use super::measure::{Figures, Variant};
use super::plot::{COLOURS, PLOTS, STYLE};
use super::words;
use crate::quantity::count;

/// What is shown, whatever the machine.
const EXPLANATION: &str = "\
A recurrent cell goes over T steps in two ways: scan runs the step closure once and makes its \
operations the body of one HLO While loop, while a loop in Rust runs the closure T times and makes \
a program that is T times as long. What depends on the size of the program (tracing, lowering and \
compiling it) is therefore the same for scan at every T and grows with T for the unrolled loop, \
though a run does the same arithmetic in both.";

const LAYOUT: &str = "\
*{box-sizing:border-box}\
body{margin:0 auto;max-width:1120px;padding:24px 20px 48px;background:var(--paper);\
color:var(--ink);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,\
sans-serif}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}\
h2{font-size:1.15rem;margin:2.25rem 0 .5rem}\
p{margin:.5rem 0;max-width:75ch}\
.muted,figcaption,dt,caption{color:var(--muted)}\
.stopped{border-left:4px solid var(--unrolled);padding:.25rem .75rem}\
figure{margin:1.5rem 0 0}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(300px,100%),1fr));gap:20px 24px}\
.plots svg{width:100%;height:auto;display:block}\
figcaption{font-size:.9rem;max-width:75ch;margin-top:.5rem}\
.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;width:100%}\
caption{text-align:left;padding-bottom:.5rem}\
th,td{padding:.2rem .75rem;text-align:right;white-space:nowrap}\
th[scope=rowgroup],thead th:first-child{padding-left:0}\
thead th{vertical-align:bottom;border-bottom:1px solid var(--muted);font-weight:600}\
tbody{border-bottom:1px solid var(--grid)}\
th.loop{text-align:left;font-weight:600}\
th.scan{color:var(--scan-text)}th.unrolled{color:var(--unrolled-text)}\
tbody th[scope=rowgroup]{vertical-align:top;font-weight:400}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;margin:0}\
dd{margin:0;overflow-wrap:anywhere}";

pub fn page(document: &Document) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                // Nothing is loaded from anywhere, and nothing runs.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                title { (words::TITLE) }
                style { (PreEscaped(COLOURS)) (PreEscaped(STYLE)) (PreEscaped(LAYOUT)) }
            }
            body { main {
                h1 { (words::TITLE) }
                p.muted { (words::subject(document)) }
                p { (EXPLANATION) }
                @for note in words::notes(document) { p.stopped { (note) } }
                figure {
                    div.plots { @for plot in &PLOTS { (plot.svg(document)) } }
                    figcaption { (words::reading(document)) }
                }
                h2 { "Figures" }
                (table(document))
                h2 { "How it was measured" }
                (facts(document))
            } }
        }
    };
    page.into_string()
}

fn table(document: &Document) -> Markup {
    html! {
        div.scroll { table {
            caption { "– was not measured" }
            thead { tr {
                th scope="col" { "T" }
                th.loop scope="col" { "loop" }
                @for column in &words::COLUMNS { th scope="col" { (column.name) } }
            } }
            @for row in &document.rows {
                tbody {
                    @for variant in Variant::ALL { tr {
                        @if variant == Variant::Scan {
                            th scope="rowgroup" rowspan="2" { (count(row.steps as u64)) }
                        }
                        th class={ "loop " (variant.name()) } scope="row" { (variant.name()) }
                        (cells(row, variant))
                    } }
                }
            }
        } }
    }
}

fn cells(row: &Row, variant: Variant) -> Markup {
    let figures: Option<&Figures> = row.figures(variant);
    html! {
        @for column in &words::COLUMNS { td { (column.show(figures)) } }
    }
}

fn facts(document: &Document) -> Markup {
    html! {
        dl {
            @for (name, fact) in words::facts(document) { dt { (name) } dd { (fact) } }
        }
    }
}
