//! What a loop or a batch does with each leaf of a module.

use crate::error::{Error, ErrorKind, Result};
use crate::ops::control::leaf_name;
use crate::ops::resolve_axis;
use crate::random;
use crate::tensor::Tensor;
use crate::tree::{self, Kind, Path, Tree};

/// Which leaves of a module are meant; the filters of `flax.nnx`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All of them; `...`.
    All,
    /// [Parameters](tree::is_parameter); `nnx.Param`.
    Param,
    /// [State](Path::is_state), streams of keys included.
    State,
    /// Streams of keys; `nnx.RngState`.
    RngState,
    /// The part at this path, such as `encoder.dropout`, and all below it.
    Path(String),
    /// All below a field, position or name called so, wherever it is; `nnx.PathContains`.
    PathContains(String),
}

impl Filter {
    fn matches(&self, path: &Path, leaf: &Tensor) -> bool {
        match self {
            Filter::All => true,
            Filter::Param => tree::is_parameter(path, leaf),
            Filter::State => path.is_state(),
            Filter::RngState => matches!(path.kind(), Kind::RngKey | Kind::RngCount),
            Filter::Path(start) => {
                let rest = path.to_string();
                let rest = rest.strip_prefix(start.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            }
            Filter::PathContains(part) => path.to_string().split('.').any(|key| key == part),
        }
    }
}

/// What a [`Scan`](super::Scan) or a [`Vmap`](super::Vmap) does with a leaf of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateAxis {
    /// A step takes it from the step before it; `nnx.Carry`.
    Carry,
    /// Each step or member has its own part, along this axis; negative ones count from the back.
    /// What the parts become is put together along the same axis.
    Axis(isize),
    /// The same for all steps or members, which may not change it; `None` in Flax.
    Broadcast,
}

/// What is done with each leaf of a module, by rules of which the first that matches counts;
/// `nnx.StateAxes`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use onetrace::nn::{Filter, StateAxes, StateAxis};
/// // Layers that share their embedding, and otherwise have parameters and keys of their own.
/// let axes = StateAxes::from([
///     (Filter::Path("embed".into()), StateAxis::Broadcast),
///     (Filter::All, StateAxis::Axis(0)),
/// ]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateAxes(Vec<(Filter, StateAxis)>);

impl<const N: usize> From<[(Filter, StateAxis); N]> for StateAxes {
    fn from(rules: [(Filter, StateAxis); N]) -> StateAxes {
        StateAxes(rules.into())
    }
}

/// One axis for all leaves.
impl From<StateAxis> for StateAxes {
    fn from(axis: StateAxis) -> StateAxes {
        StateAxes::from([(Filter::All, axis)])
    }
}

/// What is done with one leaf. The axis is one that the leaf has.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum LeafAxis {
    Carry,
    Axis(usize),
    Broadcast,
    /// Of a stream that is split: each step or member has one of the new keys.
    Split,
}

impl StateAxes {
    /// What is done with each leaf of a module by the function `what`, where `otherwise` says it of
    /// those that no rule matches. The streams that `split` matches are split.
    pub(super) fn of_leaves<M: Tree>(
        &self,
        what: &str,
        module: &M,
        split: Option<&Filter>,
        otherwise: impl Fn(&Path) -> StateAxis,
    ) -> Result<Vec<LeafAxis>> {
        let leaves = tree::leaves_with_paths(module);
        // The key of a stream decides for its count, which comes after it.
        let mut is_split = false;
        let axis = |(path, leaf): &(Path, Tensor)| {
            is_split = match path.kind() {
                Kind::RngKey => split.is_some_and(|filter| filter.matches(path, leaf)),
                kind => is_split && kind == Kind::RngCount,
            };
            if is_split {
                return Ok(LeafAxis::Split);
            }
            let rule = self.0.iter().find(|(filter, _)| filter.matches(path, leaf));
            Ok(match rule.map_or_else(|| otherwise(path), |(_, axis)| *axis) {
                StateAxis::Carry => LeafAxis::Carry,
                StateAxis::Broadcast => LeafAxis::Broadcast,
                StateAxis::Axis(axis) => {
                    let name = format!("{what}: {}", leaf_name("module", path));
                    LeafAxis::Axis(resolve_axis(&name, axis, leaf.rank())?)
                }
            })
        };
        leaves.iter().map(axis).collect()
    }
}

/// The leaves of a module that has been given to a function, and what is done with each.
pub(super) struct Plan {
    pub axes: Vec<LeafAxis>,
    /// The leaves, of which those of split streams are split and those with an axis have it in
    /// front.
    leaves: Vec<Tensor>,
    /// For the two leaves of a split stream: what they are afterwards.
    restored: Vec<Option<Tensor>>,
}

impl Plan {
    /// Prepares the leaves of a module for `size` steps or members, which need only be known if a
    /// stream is split.
    #[track_caller]
    pub fn of<M: Tree>(
        what: &str,
        module: &M,
        axes: Vec<LeafAxis>,
        size: Option<usize>,
    ) -> Result<Plan> {
        tree::check(module)?;
        let mut leaves = tree::leaves(module);
        let mut restored = vec![None; leaves.len()];
        for i in 0..leaves.len() {
            match axes[i] {
                LeafAxis::Axis(axis) if axis > 0 => {
                    leaves[i] = leaves[i].moveaxis(axis as isize, 0);
                }
                // The count of a stream comes behind its key.
                LeafAxis::Split if restored[i].is_none() => {
                    let Some(size) = size else {
                        return Err(Error::argument(format!(
                            "{what}: split_rngs: nothing tells into how many keys to split the streams: \
                             give the length of the scan, or the axis_size of the vmap"
                        )));
                    };
                    let Some(count) = leaves.get(i + 1) else {
                        return Err(Error::new(
                            ErrorKind::Tree,
                            "split_rngs: a key without a count",
                        ));
                    };
                    let mut stream =
                        crate::nn::RngStream { key: leaves[i].clone(), count: count.clone() };
                    let keys = random::split(&stream.next_key(), size);
                    restored[i] = Some(stream.key);
                    restored[i + 1] = Some(stream.count);
                    let counts = Tensor::zeros([size], leaves[i + 1].dtype());
                    (leaves[i], leaves[i + 1]) = (keys, counts);
                }
                _ => {}
            }
        }
        leaves.iter().try_for_each(Tensor::check)?;
        Ok(Plan { axes, leaves, restored })
    }

    /// A plan that does nothing with a module, which is wrong.
    pub fn nothing<M: Tree>(module: &M) -> Plan {
        let leaves = tree::leaves(module);
        let count = leaves.len();
        let axes = vec![LeafAxis::Broadcast; count];
        Plan { axes, leaves, restored: vec![None; count] }
    }

    /// The module with its prepared leaves.
    pub fn prepared<M: Tree>(&self, module: &M) -> M {
        super::with_leaves(module, self.leaves.iter().cloned().map(Some).collect())
    }

    /// The number of steps or members along the first axis that there is.
    pub fn first_size<M: Tree>(module: &M, axes: &[LeafAxis]) -> Option<usize> {
        let leaves = tree::leaves(module).into_iter().zip(axes);
        leaves.into_iter().find_map(|(leaf, axis)| match axis {
            LeafAxis::Axis(axis) => leaf.shape().get(*axis).copied(),
            _ => None,
        })
    }

    /// Which leaves each step or member has its own part of.
    pub fn sliced(&self) -> Vec<bool> {
        let own = |axis: &LeafAxis| matches!(axis, LeafAxis::Axis(_) | LeafAxis::Split);
        self.axes.iter().map(own).collect()
    }

    /// Which of the changed leaves are put together: those of a stream that was split are not.
    pub fn stacked(axes: &[LeafAxis], changed: &[bool]) -> Vec<bool> {
        let both = axes.iter().zip(changed);
        both.map(|(axis, &changed)| changed && matches!(axis, LeafAxis::Axis(_))).collect()
    }

    /// What is to be written into the module: `stacked` leaves with their axis where it was, the
    /// streams that were split as after one draw, and the other `leaves`.
    pub fn results(self, leaves: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        let mut results = Vec::new();
        for ((leaf, restored), axis) in leaves.into_iter().zip(self.restored).zip(self.axes) {
            results.push(match (axis, leaf) {
                (LeafAxis::Axis(axis), Some(leaf)) if axis > 0 => {
                    Some(leaf.moveaxis(0, axis as isize))
                }
                (_, leaf) => restored.or(leaf),
            });
        }
        results
    }
}

/// An error if a leaf that is the same for all steps or members was changed.
pub(super) fn check_broadcast<M: Tree>(
    what: &str,
    (unit, advice): (&str, &str),
    module: &M,
    axes: &[LeafAxis],
    changed: &[bool],
) -> Result<()> {
    let leaves = tree::leaves_with_paths(module).into_iter().zip(axes.iter().zip(changed));
    let wrong = leaves.filter(|(_, (axis, changed))| **axis == LeafAxis::Broadcast && **changed);
    let lines: Vec<String> = wrong
        .map(|((path, leaf), _)| format!("\n  {}: {}", leaf_name("module", &path), leaf.aval()))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Tree,
        format!(
            "{what}: what is broadcast is the same for every {unit} and must stay as it is, but it is \
             changed:{}\n  {advice}",
            lines.concat(),
        ),
    ))
}
