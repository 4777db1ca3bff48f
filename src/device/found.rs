//! Where plugins are: what pip installed, found by reading directories.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::Plugin;
use crate::pjrt;

/// The plugins of this machine, each file once.
pub(super) fn plugins() -> Vec<Plugin> {
    let of_python = site_directories().into_iter().flat_map(|site| in_site_directory(&site));
    let mut seen = HashSet::new();
    let new = |plugin: &Plugin| {
        let path = plugin.path().canonicalize();
        seen.insert(path.unwrap_or_else(|_| plugin.path().to_owned()))
    };
    in_environment().into_iter().chain(of_python).filter(new).collect()
}

/// Those that JAX's environment variable names.
fn in_environment() -> Vec<Plugin> {
    let value = env::var("PJRT_NAMES_AND_LIBRARY_PATHS").unwrap_or_default();
    let plugin = |entry: &str| {
        let (name, path) = entry.trim().split_once(':')?;
        Plugin::new(name, path).ok()
    };
    value.split(',').filter_map(plugin).collect()
}

/// Those that pip put into a directory of Python packages.
fn in_site_directory(site: &Path) -> Vec<Plugin> {
    let mut plugins = Vec::new();
    for package in entries(&site.join("jax_plugins")) {
        let libraries = entries(&package);
        let libraries = libraries.into_iter().filter(|path| has_extension(path, "so"));
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let plugin = |path| Plugin::new(plugin_name(&name), path).ok();
        plugins.extend(libraries.filter_map(plugin));
    }
    plugins
}

/// What a package of a plugin is for: `cuda` for `xla_cuda13`.
fn plugin_name(package: &str) -> &str {
    let name = package.strip_prefix("xla_").unwrap_or(package);
    let platform = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if super::plugin::GPUS.contains(&platform) { platform } else { name }
}

/// The directories of packages of the Python environments on the path.
fn site_directories() -> Vec<PathBuf> {
    let directory = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let mut prefixes: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(directory).map(Into::into).collect();
    for bin in env::split_paths(&directory("PATH").unwrap_or_default()) {
        prefixes.extend(prefixes_of(&bin));
    }
    prefixes.extend(directory("HOME").map(|home| Path::new(&home).join(".local")));

    let python_path = directory("PYTHONPATH").unwrap_or_default();
    let mut sites: Vec<PathBuf> = env::split_paths(&python_path).collect();
    for prefix in prefixes {
        for lib in ["lib", "lib64"] {
            let is_python = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"))
            };
            for python in entries(&prefix.join(lib)).into_iter().filter(is_python) {
                sites.extend(["site-packages", "dist-packages"].map(|name| python.join(name)));
            }
        }
    }
    sites
}

/// The prefixes of the Python that is in a directory of programs.
fn prefixes_of(bin: &Path) -> Vec<PathBuf> {
    let python = bin.join("python3");
    if !python.exists() {
        return Vec::new();
    }
    let prefix = |program: &Path| Some(program.parent()?.parent()?.to_owned());
    let Some(here) = prefix(&python) else { return Vec::new() };
    // pyenv's programs only start those of the version that is chosen.
    if bin.file_name().is_some_and(|name| name == "shims") {
        return entries(&here.join("versions"));
    }
    // A virtual environment links to the Python it was made with, and does not have its packages.
    if here.join("pyvenv.cfg").exists() {
        return vec![here];
    }
    let linked = python.canonicalize().ok().and_then(|program| prefix(&program));
    [here].into_iter().chain(linked).collect()
}

/// What is in a directory, in order; nothing if it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// The libraries of CUDA that NVIDIA's packages look for by their names alone. JAX loads them
/// before its plugin too, from the packages that pip put beside it: those libraries then find each
/// other where their own run paths do not lead. What is not there is looked for by the plugin
/// itself.
pub(super) fn preload_nvidia_libraries(plugin: &Path) {
    const LIBRARIES: [&str; 7] =
        ["libcudart", "libnvrtc", "libcublasLt", "libcublas", "libnccl", "libcupti", "libcudnn"];
    // site-packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so
    let Some(site) = plugin.ancestors().nth(3) else { return };
    let packages = entries(&site.join("nvidia"));
    let files: Vec<PathBuf> =
        packages.iter().flat_map(|package| entries(&package.join("lib"))).collect();
    for library in LIBRARIES {
        let start = format!("{library}.so.");
        let is_library = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start))
        };
        for file in files.iter().filter(is_library) {
            // The plugin says what it misses.
            _ = pjrt::preload(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_one_platform_have_one_name() {
        assert_eq!(plugin_name("xla_cuda13"), "cuda");
        assert_eq!(plugin_name("xla_rocm7"), "rocm");
        assert_eq!(plugin_name("metal_plugin"), "metal_plugin");
        assert_eq!(plugin_name("xla_tpu2"), "tpu2");
    }

    #[test]
    fn plugins_of_pip_are_found() {
        let site = tempfile::tempdir().unwrap();
        let package = site.path().join("jax_plugins/xla_cuda12");
        fs::create_dir_all(&package).unwrap();
        for file in ["__init__.py", "xla_cuda_plugin.so"] {
            fs::write(package.join(file), "").unwrap();
        }
        let found = in_site_directory(site.path());
        assert_eq!(found, [Plugin::new("cuda", package.join("xla_cuda_plugin.so")).unwrap()]);
        assert!(in_site_directory(&package).is_empty());
    }
}
