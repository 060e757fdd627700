// `outcome` is the word that the harness knows.

export class ClientError extends Error {
  outcome = undefined;
}

export class Unavailable extends ClientError {
  outcome = "unavailable";
  constructor(message, retryAfter = 0) {
    super(message);
    this.retryAfter = retryAfter; // ms
  }
}

/** Another try within this call makes no sense. */
export class GivenUp extends Unavailable {}

export class Denied extends ClientError {
  outcome = "denied";
}

/** Vault takes no login; nothing is wrong with the secret. */
export class LoginRefused extends Denied {}

export class Missing extends ClientError {
  outcome = "missing";
}

export class Deleted extends ClientError {
  outcome = "deleted";
}
