use super::shape::Shape;
use crate::keys::keyed;

keyed! {
    /// lr
    pub struct Constant {}
}

impl Shape for Constant {
    fn lr(&self, lr: f64, _: u64, _: u64) -> f64 {
        lr
    }
}
