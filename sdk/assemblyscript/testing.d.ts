/** What one run did. Nothing of one that failed. */
export interface Ended {
  /** Texts such as `7.50 SEK`. Throws if the run did not end well. */
  readonly saved: string[];
  transactions: { endUser: string; amount: string; currency: string; memo: string | null }[];
  events: { type: string; subject: string | null; data: unknown }[];
  logs: string[];
  response: { status: number; headers: Record<string, string> } | null;
  /** The body of the answer. */
  answer: string | null;
  /** Why the event was refused for good, or is to be run again. */
  rejected: string | null;
  retry: string | null;
  error: Error | null;
  /** What is stored behind the run. */
  state: Record<string, string>;
}

/** Runs of the function with a double of Larder. */
export class TestRun {
  constructor(program?: WebAssembly.Module);
  enrolment(endUser: string, topic: string, settings?: object): this;
  env(variables: Record<string, string>): this;
  state(key: string, value: string): this;
  signing(upstream: string, hmac: (data: Uint8Array) => Uint8Array): this;
  handle(event: {
    type: string; data?: unknown; id?: string; source?: string; subject?: string; time?: string; attributes?: Record<string, string>;
  }): Ended;
  serve(request: string, options?: { headers?: Record<string, string>; body?: string | Uint8Array | object }): Ended;
}
