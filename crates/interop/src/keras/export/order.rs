//! The order in which Keras lists layers: it decides under which names their weights lie.

use super::super::graph::histories;
use serde_json::Value as Json;
use std::collections::{HashMap, HashSet};

/// Layers by the length of the longest way to an output, then by when a search from the outputs
/// meets them first; inputs that nothing uses come first of the last.
///
/// Source: `map_graph` of `keras/src/ops/function.py`.
pub(super) fn as_keras_does(layers: Vec<Json>, outputs: &[String]) -> Vec<Json> {
    let name = |layer: &Json| layer["name"].as_str().unwrap_or_default().to_owned();
    let place: HashMap<String, usize> =
        layers.iter().enumerate().map(|(i, layer)| (name(layer), i)).collect();
    let inputs: Vec<Vec<usize>> = layers
        .iter()
        .map(|layer| {
            let mut names = Vec::new();
            histories(&layer["inbound_nodes"], 0, &mut names);
            names.iter().filter_map(|name| place.get(name).copied()).collect()
        })
        .collect();
    // Depth first: when each is met, and the order in which all that it takes is done.
    let (mut met, mut done) = (HashMap::new(), Vec::new());
    let mut finished = HashSet::new();
    for output in outputs {
        let Some(&start) = place.get(output) else { continue };
        let mut open = vec![(start, 0)];
        while let Some((at, child)) = open.pop() {
            if child == 0 {
                if finished.contains(&at) {
                    continue;
                }
                let index = met.len() as i64;
                met.entry(at).or_insert(index);
            }
            if let Some(&next) = inputs[at].get(child) {
                open.push((at, child + 1));
                open.push((next, 0));
            } else if finished.insert(at) {
                done.push(at);
            }
        }
    }
    let mut depths = vec![0usize; layers.len()];
    for &at in done.iter().rev() {
        for &before in &inputs[at] {
            depths[before] = depths[before].max(depths[at] + 1);
        }
    }
    let mut order: Vec<usize> = (0..layers.len()).collect();
    let key = |at: &usize| (std::cmp::Reverse(depths[*at]), met.get(at).copied().unwrap_or(-1));
    order.sort_by_key(key);
    let mut layers: Vec<Option<Json>> = layers.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| layers[at].take()).collect()
}
