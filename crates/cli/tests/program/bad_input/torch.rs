//! Modules of PyTorch whose layers are not known, hold code, or are not there.

use std::path::Path;

use super::Case;
use super::cases::case;
use crate::Folder;

pub(super) fn torch(folder: &Folder) -> Vec<Case> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (from, name) in [
        ("formats/tests/torch/state.pt", "state.pt"),
        ("interop/tests/torch/own.pt", "own.pt"),
        ("interop/tests/torch/convolution.pt", "convolution.pt"),
        ("interop/tests/torch/unfit.pt", "unfit.pt"),
        ("interop/tests/torch/norms.pt", "norms.pt"),
    ] {
        std::fs::copy(crates.join(from), folder.path().join(name)).unwrap();
    }
    folder.write("two.csv", "x,y\n1,2\n");
    vec![
        case(
            "A state dict, which has no layers",
            "predict state.pt --data two.csv",
            2,
            &["state.pt holds weights without layers; save the whole model"],
        ),
        case(
            "A module of PyTorch with code of its own",
            "predict own.pt --data two.csv",
            1,
            &["`__main__.Net`", "nothing in it was executed"],
        ),
        case(
            "A module of PyTorch with a layer that is not known",
            "predict convolution.pt --data two.csv",
            1,
            &["layer `0` (Conv1d)", "torch.onnx.export"],
        ),
        case(
            "Layers of PyTorch that do not fit each other",
            "predict unfit.pt --data two.csv",
            1,
            &["layer `1` (Linear): it takes 5 numbers a row, and gets 4"],
        ),
        case(
            "A table with too few columns for a module of PyTorch",
            "predict norms.pt --data two.csv",
            2,
            &["takes 4 numbers a row, and `two.csv` has 2 columns"],
        ),
    ]
}
