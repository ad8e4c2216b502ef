//! Variables of functions and of the project. A secret one can be replaced, but never read or made plain again.

use larder_model::Variable;
use larder_model::audit::Action;
use larder_model::ids::{FunctionId, PartnerId, VariableId};
use larder_store::Changer;

use crate::audit::{self, Change, fields};
use crate::common::{Common, Sealer};
use crate::deployments::changed;
use crate::error::{Error, Result};

/// Of one function, and of the project; together they are the guest's environment.
const VARIABLES_MAX: u64 = 100;

pub struct NewVariable {
    pub partner: PartnerId,
    /// `None`: the project.
    pub function: Option<FunctionId>,
    pub id: VariableId,
    pub name: String,
    pub value: String,
    pub secret: bool,
}

/// What changes of a variable.
pub struct VariableChange {
    pub name: Option<String>,
    pub value: Option<String>,
    pub secret: Option<bool>,
}

pub async fn create(sealer: &Sealer, new: NewVariable, by: &Changer<'_>) -> Result<Variable> {
    if sealer.store.variables_of(&new.partner, new.function.as_ref()).await?.len() as u64 >= VARIABLES_MAX {
        let of = if new.function.is_some() { "function" } else { "project" };
        return Err(Error::TooMany { of, most: VARIABLES_MAX, what: "variables" });
    }
    let now = sealer.clock.now_ms();
    let mut variable = Variable {
        partner: new.partner,
        id: new.id,
        sealed: vec![],
        function: new.function,
        name: new.name,
        secret: new.secret,
        revision: sealer.clock.ulid(),
        created_at_ms: now,
        updated_at_ms: now,
    };
    variable.sealed = sealer.secrets.seal(&variable.place(), new.value.as_bytes());
    let change = Change::new(Action::VariableCreate, variable.id.as_str()).after(fields::variable(&variable));
    let inserted = audit::of(sealer, variable.partner.clone(), change).insert_variable(&variable, by).await;
    inserted.map_err(Error::VariableExists.on_conflict())?;
    take_effect(sealer, &variable).await?;
    Ok(variable)
}

pub async fn update(sealer: &Sealer, old: &Variable, change: VariableChange, by: &Changer<'_>) -> Result<Variable> {
    if old.secret && change.secret == Some(false) {
        return Err(Error::SecretVariable);
    }
    // Encrypted again in any case: the name is part of what the value is bound to.
    let old_value = match sealer.secrets.open(&old.place(), &old.sealed) {
        Ok(value) => Some(value),
        // A value that cannot be decrypted can be replaced.
        Err(_) if change.value.is_some() => None,
        Err(err) => return Err(err.into()),
    };
    let mut new = old.clone();
    new.name = change.name.unwrap_or(new.name);
    let value = change.value.as_deref().map(str::as_bytes).or(old_value.as_deref()).unwrap_or_default();
    new.sealed = sealer.secrets.seal(&new.place(), value);
    new.secret |= change.secret.unwrap_or(false);
    new.updated_at_ms = sealer.clock.now_ms();
    // The same values again are no change: a deployment writes the ones that are there.
    let same = old_value.as_deref() == Some(value) && (&new.name, new.secret) == (&old.name, old.secret);
    if !same {
        new.revision = sealer.clock.ulid();
    }
    let change = Change::new(Action::VariableUpdate, old.id.as_str());
    let change = change.from_to(fields::variable(old), fields::variable(&new));
    let updated = audit::of(sealer, old.partner.clone(), change).update_variable(old, &new, by).await;
    updated.map_err(Error::VariableExists.on_conflict())?;
    take_effect(sealer, &new).await?;
    Ok(new)
}

pub async fn delete(common: &Common, variable: &Variable, by: &Changer<'_>) -> Result<()> {
    let change = Change::new(Action::VariableDelete, variable.id.as_str()).before(fields::variable(variable));
    audit::of(common, variable.partner.clone(), change).delete_variable(variable, by).await?;
    Ok(take_effect(common, variable).await?)
}

async fn take_effect(common: &Common, variable: &Variable) -> larder_store::Result<()> {
    match &variable.function {
        Some(function) => changed(common, &variable.partner, function).await,
        None => common.directory.reload(&variable.partner).await,
    }
}
