//! The HTML page and the graph of a module: what they contain, and the page in a real browser.
//!
//! The browser is Chromium; on a machine without it that part is skipped, with a message.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use onetrace::hlo::Module;
use onetrace::prelude::*;
use serde_json::Value;

/// Runs in the page after its own script, works it as a reader would, and leaves what it saw in an
/// element of its own.
const READER: &str = include_str!("hlo_page/reader.js");

/// The name of a tensor, which comes out in the page, that would be markup if it were not escaped.
const MARKUP: &str = "<img src=x onerror='broken()'>&\"";

/// A loop in a loop, with a matrix product in the inner one.
fn module() -> Module {
    let weights = Tensor::arange(9, DType::F32).reshape([3, 3]).named(MARKUP);
    let nested = jit(|x: Tensor| {
        let inner = |h: Tensor, x: Tensor| (&h + weights.dot(&h) + x, ());
        let outer = |h: Tensor, x: Tensor| (scan(inner, h, x).0, ());
        scan(outer, Tensor::zeros([3], DType::F32), x).0
    });
    let x = Tensor::zeros([5, 7, 3], DType::F32);
    nested.name("nested").lower(x).unwrap().module().unwrap()
}

/// Chromium, under the names that it goes by.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let runs = |name: &&str| {
        let mut version = Command::new(name);
        version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    };
    names.into_iter().find(runs)
}

/// The document that a page has become after its scripts, in a browser without a network.
fn document(browser: &str, page: &str, options: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (file, output) = (directory.path().join("page.html"), directory.path().join("dom.html"));
    fs::write(&file, page).unwrap();
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,900"])
        .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
        .args(options)
        .arg(format!("file://{}", file.display()))
        .stdout(File::create(&output).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(180) {
            child.kill().unwrap();
            panic!("{browser} does not come to an end");
        }
        thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{browser}: {status}");
    fs::read_to_string(output).unwrap()
}

/// What the reader saw in a page.
fn read(browser: &str, page: &str) -> Value {
    let page = page.replace("</body>", &format!("<script>{READER}</script></body>"));
    let document = document(browser, &page, &["--virtual-time-budget=20000"]);
    let (_, rest) =
        document.split_once("<pre id=\"seen\">").expect("the reader has come to its end");
    let (seen, _) = rest.split_once("</pre>").unwrap();
    let seen = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&seen).unwrap()
}

fn skipped(what: &str) {
    eprintln!("skipped: {what} (there is no Chromium on this machine)");
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = browser() else { return skipped("the page in a browser") };
    let module = module();
    let seen = read(browser, &module.html());
    let stats = module.stats();

    assert_eq!(seen["requests"], 0, "{seen}");
    assert_eq!(seen["images"], 0, "a name became markup");
    assert_eq!(seen["text"].as_str().unwrap().matches(MARKUP).count(), 1, "{seen}");
    assert_eq!(seen["computations"], stats.computations);
    assert_eq!(seen["rows"], stats.instructions);
    // The inner loop is in the list below the outer one.
    assert_eq!(seen["loops"].as_array().unwrap().len(), 2, "{seen}");
    let outer = &stats.while_loops[0].name;
    assert_eq!(seen["loops"][0], format!("while {outer} 5 iterations"));
    let inner = &stats.while_loops[1].name;
    assert_eq!(seen["loops"][1], format!("{outer} > while {inner} 7 iterations"));
    // Colours tell families of opcodes apart, in both modes.
    assert_ne!(seen["colours"]["dot"], seen["colours"]["while"], "{seen}");
    assert_eq!(seen["colours"]["add"], seen["colours"]["compare"], "{seen}");

    assert_eq!(seen["closed"], serde_json::json!([true, false]), "a click closes a computation");
    assert_eq!(seen["all_closed"], 0);
    assert_eq!(seen["filtered"], serde_json::json!(["dot"]));
    assert_eq!(seen["status"], format!("1 of {} instructions", stats.instructions));
    assert_eq!(seen["found"], serde_json::json!(["tuple"]), "two words, both of which must occur");
    assert_eq!(seen["after_escape"], stats.instructions);
    assert_eq!(seen["defined"], seen["hovered"]);
    assert_eq!(seen["uses"], 2, "the state of the inner loop is added and multiplied");
    assert_eq!(seen["revealed"], true, "a link opens what is closed");
}

#[test]
fn the_page_is_there_without_its_script() {
    let Some(browser) = browser() else { return skipped("the page without scripts") };
    let policy = "script-src 'unsafe-inline'";
    let page = module().html();
    assert_eq!(page.matches(policy).count(), 1);
    let seen = document(browser, &page.replace(policy, "script-src 'none'"), &[]);
    // The script would have shown this and enabled those.
    assert!(seen.contains("<div class=\"search\" role=\"search\" hidden"), "{seen}");
    assert!(seen.contains("<button type=\"button\" disabled"), "{seen}");
    assert_eq!(seen.matches("<details").count(), page.matches("<details").count());
    assert_eq!(seen.matches("<li id=").count(), page.matches("<li id=").count());
}

#[test]
fn the_page_asks_for_nothing() {
    let page = module().html();
    for reference in ["src=", "url(", "@import", "http:", "https:", "href=\"/"] {
        // The name of a tensor is text.
        let page = page.replace("src=x", "");
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn the_graph_has_a_cluster_for_each_computation() {
    let module = module();
    let dot = module.dot();
    assert_eq!(dot.matches("subgraph cluster_").count(), module.stats().computations);
    assert!(dot.contains("label=\"body × 5\"") && dot.contains("label=\"body × 7\""), "{dot}");
    assert_eq!(dot.matches('{').count(), dot.matches('}').count(), "{dot}");
    assert!(dot.contains("&lt;img src=x"), "{dot}");
}

/// Where Graphviz is installed, it draws the graph.
#[test]
fn graphviz_reads_the_graph() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("module.dot");
    fs::write(&file, module().dot()).unwrap();
    let svg = directory.path().join("module.svg");
    let drawn = draw(&file, &svg);
    let Ok(output) = drawn else {
        return eprintln!("skipped: the graph drawn (there is no Graphviz on this machine)");
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "");
    assert!(fs::read_to_string(svg).unwrap().contains("7 iterations"));
}

fn draw(dot: &Path, svg: &Path) -> std::io::Result<std::process::Output> {
    Command::new("dot").arg("-Tsvg").arg("-o").arg(svg).arg(dot).output()
}
