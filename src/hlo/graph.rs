//! A decoded module as a graph: computations and instructions by id, and who calls whom.

use std::collections::HashMap;

use super::proto::{HloComputationProto, HloInstructionProto, HloModuleProto};

/// The position of an instruction: that of its computation in the module, and its own in that.
pub(crate) type Place = (usize, usize);

/// The index of a well-formed module.
pub(crate) struct Graph<'a> {
    module: &'a HloModuleProto,
    computations: HashMap<i64, usize>,
    /// For each computation, its instructions by id.
    instructions: Vec<HashMap<i64, usize>>,
    /// For each computation, the instructions that call it.
    callers: Vec<Vec<Place>>,
}

impl<'a> Graph<'a> {
    pub fn new(module: &'a HloModuleProto) -> Graph<'a> {
        let list = &module.computations;
        let computations: HashMap<i64, usize> =
            list.iter().enumerate().map(|(i, c)| (c.id, i)).collect();
        let by_id = |c: &HloComputationProto| {
            c.instructions.iter().enumerate().map(|(i, instruction)| (instruction.id, i)).collect()
        };
        let mut callers = vec![Vec::new(); list.len()];
        for (c, computation) in list.iter().enumerate() {
            for (i, instruction) in computation.instructions.iter().enumerate() {
                for id in &instruction.called_computation_ids {
                    if let Some(&called) = computations.get(id) {
                        callers[called].push((c, i));
                    }
                }
            }
        }
        Graph { module, computations, instructions: list.iter().map(by_id).collect(), callers }
    }

    /// The computation where the program starts.
    pub fn entry(&self) -> Option<usize> {
        self.computations.get(&self.module.entry_computation_id).copied()
    }

    pub fn computation(&self, index: usize) -> &'a HloComputationProto {
        &self.module.computations[index]
    }

    pub fn instruction(&self, (computation, index): Place) -> &'a HloInstructionProto {
        &self.module.computations[computation].instructions[index]
    }

    /// The root of a computation.
    pub fn root(&self, computation: usize) -> Option<Place> {
        let id = self.computation(computation).root_id;
        self.instructions[computation].get(&id).map(|&i| (computation, i))
    }

    /// The operand of an instruction at this position.
    pub fn operand(&self, place: Place, position: usize) -> Option<Place> {
        let id = self.instruction(place).operand_ids.get(position)?;
        self.instructions[place.0].get(id).map(|&i| (place.0, i))
    }

    /// The computations that an instruction calls: for a `while`, the body and then the condition.
    pub fn called(&self, place: Place) -> Vec<usize> {
        let ids = &self.instruction(place).called_computation_ids;
        ids.iter().filter_map(|id| self.computations.get(id).copied()).collect()
    }

    /// The one instruction that calls a computation, if there is just one.
    pub fn caller(&self, computation: usize) -> Option<Place> {
        match self.callers[computation][..] {
            [caller] => Some(caller),
            _ => None,
        }
    }
}
