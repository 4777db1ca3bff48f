//! No line of TensorFlow's own reaches the user, from before main to the end of a run.

use std::env;
use std::process::Command;

use onetrace::prelude::*;

const CHILD: &str = "ONETRACE_SILENCE_CHILD";

#[test]
fn a_run_logs_nothing() {
    if env::var_os(CHILD).is_some() {
        let doubled = jit(|x: Tensor| &x + &x).call(Tensor::new(&[21.0f32], [1])).unwrap();
        assert_eq!(doubled.to_vec::<f32>().unwrap(), [42.0]);
        return;
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "a_run_logs_nothing", "--nocapture"])
        .env(CHILD, "1")
        .env_remove("TF_CPP_MIN_LOG_LEVEL")
        .env_remove("TF_ENABLE_ONEDNN_OPTS")
        .output()
        .unwrap();
    assert!(child.status.success());
    assert_eq!(String::from_utf8_lossy(&child.stderr), "");
}
