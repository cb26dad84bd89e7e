use crate::Init;
use ff_graph::{ParamId, ParamKind, ParamSpec, Params, Result, Segment, for_float};
use ff_tensor::{DType, Device, Key, Rng, Shape};

/// Collects the parameters of layers while they are made.
///
/// Each parameter's first values depend on the seed and its name alone, so adding a layer leaves the others' as they
/// were.
///
/// ```
/// use ff_nn::{Builder, layers::Feedforward};
/// use ff_ops::Activation;
/// use ff_tensor::{DType, Device};
/// let mut builder = Builder::new();
/// let layer = builder.scope("layers.0", |b| Feedforward::new(b, 64, 128, Activation::Relu));
/// let params = builder.build(&Device::default(), DType::F32, 0, true)?;
/// assert_eq!(params.infos()[0].spec.name, "layers.0.weight");
/// assert_eq!(params.trainable_len(), 64 * 128 + 128);
/// # Ok::<(), ff_graph::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    specs: Vec<ParamSpec>,
    inits: Vec<Init>,
    prefix: String,
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes layers whose parameters' names start with `name`.
    pub fn scope<R>(&mut self, name: &str, make: impl FnOnce(&mut Self) -> R) -> R {
        let len = self.prefix.len();
        if len > 0 {
            self.prefix.push('.');
        }
        self.prefix.push_str(name);
        let made = make(self);
        self.prefix.truncate(len);
        made
    }

    /// Where the next layer stands: what tells its random numbers from others'.
    pub fn path(&self) -> &str {
        &self.prefix
    }

    /// Adds a parameter of the layer that is being made.
    pub fn param(
        &mut self,
        name: &str,
        shape: impl Into<Shape>,
        kind: ParamKind,
        init: Init,
    ) -> ParamId {
        let full = if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        };
        self.specs.push(ParamSpec::new(full, shape, kind));
        self.inits.push(init);
        ParamId::new(self.specs.len() - 1)
    }

    /// Leaves every parameter of a kind as it is drawn: it is saved with the model and takes no gradient.
    pub fn freeze(&mut self, kind: ParamKind) {
        for spec in self.specs.iter_mut().filter(|spec| spec.kind == kind) {
            spec.segment = Segment::Frozen;
        }
    }

    /// The parameters without memory: their names and shapes.
    ///
    /// # Errors
    /// Two parameters have one name.
    pub fn plan(&self) -> Result<Params> {
        Params::allocate(&Device::planning(), DType::F32, self.specs.clone(), false)
    }

    /// Allocates all parameters as one arena of zeros: for values that come from a file.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build_zeroed(
        self,
        device: &Device,
        dtype: DType,
        with_gradients: bool,
    ) -> Result<Params> {
        Params::allocate(device, dtype, self.specs, with_gradients)
    }

    /// Allocates all parameters as one arena and draws their first values; on a planning device, only the former.
    ///
    /// # Errors
    /// Two parameters have one name, or there is not enough memory.
    pub fn build(
        self,
        device: &Device,
        dtype: DType,
        seed: u64,
        with_gradients: bool,
    ) -> Result<Params> {
        let Self { specs, inits, .. } = self;
        let mut params = Params::allocate(device, dtype, specs, with_gradients)?;
        if device.pool().is_planning() {
            return Ok(params);
        }
        let mut drawn = Vec::new();
        for (i, init) in inits.iter().enumerate() {
            let id = ParamId::new(i);
            let spec = &params.info(id).spec;
            let mut rng = Rng::new(Key::new(seed).with_name("init").with_name(&spec.name));
            drawn.clear();
            drawn.resize(spec.shape.len(), 0.0f64);
            init.fill(spec.shape, &mut rng, &mut drawn);
            for_float!("init", dtype, T => {
                for (value, &drawn) in params.values_mut::<T>(id)?.iter_mut().zip(&drawn) {
                    *value = drawn as T;
                }
                Ok(())
            })?;
        }
        Ok(params)
    }
}
