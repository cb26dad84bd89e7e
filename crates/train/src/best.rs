//! The weights of the best epoch, kept beside the trained ones.

use ff_graph::{ParamInfo, Params, Result, Segment};

/// Weights and statistics of an epoch; empty if none are kept.
#[derive(Debug, Default)]
pub(crate) struct BestWeights {
    values: Vec<f32>,
    state: Vec<f32>,
}

impl BestWeights {
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.state.clear();
    }

    /// Copies the weights.
    pub(crate) fn keep(&mut self, params: &Params) -> Result<()> {
        self.clear();
        self.values.extend_from_slice(params.flat::<f32>()?);
        self.state.extend_from_slice(params.state::<f32>()?);
        Ok(())
    }

    /// Restores the weights.
    pub(crate) fn restore(&self, params: &mut Params) -> Result<()> {
        params.flat_mut::<f32>()?.copy_from_slice(&self.values);
        params.state_mut::<f32>()?.copy_from_slice(&self.state);
        Ok(())
    }

    /// The kept values of a parameter; `None` if it is frozen or no weights are kept.
    pub(crate) fn of(&self, info: &ParamInfo) -> Option<&[f32]> {
        match info.spec.segment {
            Segment::Trainable => self.values.get(info.range()),
            Segment::State if !self.values.is_empty() => self.state.get(info.range()),
            _ => None,
        }
    }

    /// Appends the saved values of a parameter, in the order of the parameters.
    pub(crate) fn push(&mut self, segment: Segment, values: &[f32]) {
        match segment {
            Segment::Trainable => self.values.extend_from_slice(values),
            Segment::State => self.state.extend_from_slice(values),
            Segment::Frozen | Segment::File => {}
        }
    }
}
