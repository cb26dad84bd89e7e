use crate::Init;
use crate::adapter::{Adapting, LoraConfig, Reach, Replaced};
use ff_graph::{ParamId, ParamKind, ParamSpec, Params, Result, Segment, for_float};
use ff_tensor::{DType, Device, Key, Shape};

/// Collects the parameters of layers during construction.
///
/// Initial values depend only on the seed and the name of the parameter, so that adding a layer
/// leaves the others unchanged.
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
    /// Set while layers are built anew with adapters, over the parameters of the first time.
    pub(crate) adapting: Option<Adapting>,
}

impl Builder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds layers with the prefix `name` for their parameters; an empty name adds none.
    pub fn scope<R>(&mut self, name: &str, make: impl FnOnce(&mut Self) -> R) -> R {
        if name.is_empty() {
            return make(self);
        }
        let len = self.prefix.len();
        if len > 0 {
            self.prefix.push('.');
        }
        self.prefix.push_str(name);
        let made = make(self);
        self.prefix.truncate(len);
        made
    }

    /// The path of the next layer, which distinguishes its random numbers from those of other
    /// layers.
    pub fn path(&self) -> &str {
        &self.prefix
    }

    /// Adds a parameter of the current layer.
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
        if let Some(adapting) = &mut self.adapting
            && let Some(known) = adapting.known(&full, &self.specs)
        {
            return self.own(&full, known).unwrap_or(known);
        }
        self.add(ParamSpec::new(full, shape, kind), init)
    }

    /// The adapter's own parameter in place of a base model's, if it has one.
    fn own(&mut self, full: &str, base: ParamId) -> Option<ParamId> {
        let adapting = self.adapting.as_mut()?;
        if let Some(replaced) = adapting.replaced().iter().find(|replaced| replaced.base == base) {
            return Some(replaced.own);
        }
        let name = adapting.own_name(full, &self.specs)?;
        let ParamSpec { shape, kind, .. } = self.specs[base.index()];
        let init = self.inits[base.index()];
        let own = self.add(ParamSpec::new(name, shape, kind), init);
        self.adapting.as_mut()?.replace(Replaced { base, own });
        Some(own)
    }

    /// The output layer that is the table of embeddings: the adapter may have a layer of its own
    /// in its place, or the table alone.
    pub(crate) fn tied(&mut self, name: &str, table: ParamId) -> ParamId {
        let Some(adapting) = &mut self.adapting else { return table };
        if adapting.keeps_tied() {
            return table;
        }
        let own = adapting.replaced().iter().find(|replaced| replaced.own == table);
        let base = own.map_or(table, |replaced| replaced.base);
        let Some(own) = adapting.own_name(name, &self.specs) else { return base };
        let ParamSpec { shape, kind, .. } = self.specs[base.index()];
        let init = self.inits[base.index()];
        let own = self.add(ParamSpec::new(own, shape, kind), init);
        if let Some(adapting) = &mut self.adapting {
            adapting.replace(Replaced { base, own });
        }
        own
    }

    fn add(&mut self, spec: ParamSpec, init: Init) -> ParamId {
        self.specs.push(spec);
        self.inits.push(init);
        ParamId::new(self.specs.len() - 1)
    }

    /// Gives the linear layers of the next model adapters. The model shares every other parameter
    /// with the same model built before, so that both are views of one arena, with the adapter and
    /// without it; `name` tells the adapters of several such models apart.
    ///
    /// ```
    /// use ff_nn::{Builder, LoraConfig, layers::Feedforward};
    /// use ff_ops::Activation;
    /// let mut builder = Builder::new();
    /// let layer = |b: &mut Builder| {
    ///     b.scope("q_proj", |b| Feedforward::new(b, 64, 128, Activation::Identity))
    /// };
    /// let plain = layer(&mut builder);
    /// builder.adapt("", LoraConfig { rank: 4, ..LoraConfig::default() });
    /// let adapted = layer(&mut builder);
    /// let params = builder.plan()?;
    /// assert_eq!(params.infos()[2].spec.name, "q_proj.lora_A.weight");
    /// assert_eq!(params.len(), 64 * 128 + 128 + 4 * (64 + 128));
    /// # Ok::<(), ff_graph::Error>(())
    /// ```
    pub fn adapt(&mut self, name: &str, config: LoraConfig) {
        self.adapting = Some(Adapting::new(name, config));
    }

    /// The linear layers since [`Builder::adapt`], and whether each got an adapter.
    pub fn linear_layers(&self) -> &[(String, bool)] {
        self.adapting.as_ref().map_or(&[], Adapting::layers)
    }

    /// The tokens that the adapter acts on.
    pub(crate) fn reach(&self) -> Reach {
        self.adapting.as_ref().map_or(Reach::None, Adapting::reach)
    }

    /// The parameters that the adapter has in place of the base model's.
    pub fn replaced(&self) -> &[Replaced] {
        self.adapting.as_ref().map_or(&[], Adapting::replaced)
    }

    /// The stacks of experts' matrices since [`Builder::adapt`], and whether each got an adapter.
    pub fn expert_stacks(&self) -> &[(String, bool)] {
        self.adapting.as_ref().map_or(&[], Adapting::stacks)
    }

    /// The embeddings of tokens that the adapter has in place of a table's, and these tokens. If
    /// the adapter is only read, it has the whole table.
    pub(crate) fn own_tokens(&mut self, features: usize) -> Option<(ParamId, Vec<u32>)> {
        let adapting = self.adapting.as_ref()?;
        let (tokens, fixed) = adapting.tokens();
        if tokens.is_empty() || fixed {
            return None;
        }
        let (tokens, name) = (tokens.to_vec(), adapting.part("token_adapter", "weight"));
        let shape = [tokens.len(), features];
        Some((self.param(&name, shape, ParamKind::Embedding, Init::Zeros), tokens))
    }

    /// Freezes the parameters that a function chooses by name.
    pub fn freeze_where(&mut self, frozen: impl Fn(&str) -> bool) {
        for spec in self.specs.iter_mut().filter(|spec| frozen(&spec.name)) {
            if spec.segment == Segment::Trainable {
                spec.segment = Segment::Frozen;
            }
        }
    }

    /// Leaves the parameters that a function chooses in the form of their file, outside of the
    /// arena (see [`Segment::File`]).
    pub fn leave_in_file(&mut self, chosen: impl Fn(&str) -> bool) {
        for spec in self.specs.iter_mut().filter(|spec| chosen(&spec.name)) {
            spec.segment = Segment::File;
        }
    }

    /// Freezes every parameter of a kind at its initial values: saved with the model, without a
    /// gradient.
    pub fn freeze(&mut self, kind: ParamKind) {
        for spec in self.specs.iter_mut().filter(|spec| spec.kind == kind) {
            spec.segment = Segment::Frozen;
        }
    }

    /// The names and shapes of the parameters, without memory.
    ///
    /// # Errors
    /// If two parameters share a name.
    pub fn plan(&self) -> Result<Params> {
        Params::allocate(&Device::planning(), DType::F32, self.specs.clone(), false)
    }

    /// Allocates all parameters as one arena of zeros, for values from a file.
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

    /// Allocates all parameters as one arena and draws their initial values; a planning device only
    /// allocates.
    ///
    /// # Errors
    /// If two parameters share a name, or memory is exhausted.
    pub fn build(
        self,
        device: &Device,
        dtype: DType,
        seed: u64,
        with_gradients: bool,
    ) -> Result<Params> {
        self.build_drawn(device, dtype, seed, with_gradients, |_| true)
    }

    /// The same with initial values for the parameters alone that a function chooses by name; the
    /// others are zeros, for values from a file.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub fn build_drawn(
        self,
        device: &Device,
        dtype: DType,
        seed: u64,
        with_gradients: bool,
        drawn: impl Fn(&str) -> bool,
    ) -> Result<Params> {
        let Self { specs, inits, .. } = self;
        let mut params = Params::allocate(device, dtype, specs, with_gradients)?;
        if device.pool().is_planning() {
            return Ok(params);
        }
        for (i, init) in inits.iter().enumerate() {
            let id = ParamId::new(i);
            let spec = &params.info(id).spec;
            if spec.segment == Segment::File || !drawn(&spec.name) {
                continue;
            }
            let key = Key::new(seed).with_name("init").with_name(&spec.name);
            let shape = spec.shape;
            for_float!("init", dtype, T => {
                init.fill(device.cpu(), shape, key, params.values_mut::<T>(id)?);
                Ok(())
            })?;
        }
        Ok(params)
    }
}
