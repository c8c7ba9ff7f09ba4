//! Who a scale set belongs to: a repository, an organisation or an enterprise, named by the path of a config URL.

use super::State;
use super::error::Refusal;

/// A scope. Names compare without case, as GitHub's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// `/org`
    Organisation(String),
    /// `/enterprises/name`
    Enterprise(String),
    /// `/owner/repository`
    Repository(String, String),
}

impl Scope {
    /// The scope that a config URL's path names.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            [name] if !name.is_empty() => Some(Self::Organisation((*name).to_owned())),
            [first, name] if first.eq_ignore_ascii_case("enterprises") => Some(Self::Enterprise((*name).to_owned())),
            [owner, name] => Some(Self::Repository((*owner).to_owned(), (*name).to_owned())),
            _ => None,
        }
    }

    /// What tells scopes apart.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Organisation(name) => name.to_lowercase(),
            Self::Enterprise(name) => format!("enterprises/{}", name.to_lowercase()),
            Self::Repository(owner, name) => format!("{owner}/{name}").to_lowercase(),
        }
    }

    /// Whether jobs of `owner/name` may run here. Every organisation belongs to every enterprise.
    pub(super) fn holds(&self, owner: &str, name: &str) -> bool {
        match self {
            Self::Enterprise(_) => true,
            Self::Organisation(own) => own.eq_ignore_ascii_case(owner),
            Self::Repository(own, repository) => {
                own.eq_ignore_ascii_case(owner) && repository.eq_ignore_ascii_case(name)
            }
        }
    }

    /// The repository of a job that was queued without one.
    pub(super) fn some_repository(&self) -> (String, String) {
        match self {
            Self::Organisation(name) | Self::Enterprise(name) => (name.clone(), "simulated".to_owned()),
            Self::Repository(owner, name) => (owner.clone(), name.clone()),
        }
    }
}

/// A runner group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Without this, jobs of public repositories never come; GitHub says so nowhere.
    pub(crate) allows_public: bool,
}

/// What exists in one scope beside scale sets and runners.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(super) scope: Scope,
    /// In the path of the pipelines back end.
    pub(crate) id: String,
    pub(super) groups: Vec<Group>,
}

/// The default group's id, which clients assume.
pub(super) const DEFAULT_GROUP: i64 = 1;

impl State {
    /// The tenant of a scope, made when it is first named: every config URL works. Returns its key.
    pub(crate) fn tenant(&mut self, scope: &Scope) -> String {
        let key = scope.key();
        if !self.tenants.contains_key(&key) {
            let id = self.random_text(12);
            let default = Group { id: DEFAULT_GROUP, name: "Default".to_owned(), allows_public: true };
            self.tenants.insert(key.clone(), Tenant { scope: scope.clone(), id, groups: vec![default] });
        }
        key
    }

    /// The id in a tenant's service path.
    pub(crate) fn tenant_id(&self, tenant: &str) -> String {
        self.tenants.get(tenant).map(|tenant| tenant.id.clone()).unwrap_or_default()
    }

    /// Adds a runner group, or changes the one of that name.
    pub(crate) fn add_group(&mut self, scope: &Scope, name: &str, allows_public: bool) -> Result<i64, Refusal> {
        if matches!(scope, Scope::Repository(..)) {
            return Err(Refusal::BadRequest("a repository has only the default runner group".to_owned()));
        }
        let key = self.tenant(scope);
        let groups = self.tenants.get_mut(&key).map(|tenant| &mut tenant.groups).ok_or(Refusal::NotFound)?;
        if let Some(group) = groups.iter_mut().find(|group| group.name == name) {
            group.allows_public = allows_public;
            return Ok(group.id);
        }
        let id = DEFAULT_GROUP + i64::try_from(groups.len()).unwrap_or(i64::MAX - 1);
        groups.push(Group { id, name: name.to_owned(), allows_public });
        Ok(id)
    }

    /// The groups of a tenant, all or those of one name.
    pub(crate) fn groups(&self, tenant: &str, name: Option<&str>) -> Vec<Group> {
        let groups = self.tenants.get(tenant).map(|tenant| tenant.groups.as_slice()).unwrap_or_default();
        groups.iter().filter(|group| name.is_none_or(|name| group.name.eq_ignore_ascii_case(name))).cloned().collect()
    }

    pub(super) fn group(&self, tenant: &str, id: i64) -> Result<Group, Refusal> {
        self.groups(tenant, None).into_iter().find(|group| group.id == id).ok_or(Refusal::GroupNotFound(id))
    }
}
