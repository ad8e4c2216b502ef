import type { LarderFunction, Response } from "./index.js";

/** What a run did. */
export interface Ended {
  /** `["12.50 SEK"]`. Throws if the run failed, was refused or is to be run again. */
  readonly saved: string[];
  transactions: { endUser: string; amount: string; currency: string; memo: string | null }[];
  events: { type: string; subject: string | null; data: unknown; attributes: Record<string, string> }[];
  /** State after the run. */
  state: Record<string, unknown>;
  /** What it sent to outside services, which nothing takes back. */
  requests: { request: string; headers: Record<string, string>; body: string }[];
  answer: string | null;
  /** The answer to a request. */
  response: Response | null;
  /** Why the function refused the event, or asked to be run again. */
  rejected: string | null;
  retry: string | null;
  /** What the function threw, if that was neither. */
  error: unknown;
}

export interface TestEvent {
  type: string;
  data?: unknown;
  id?: string;
  source?: string;
  subject?: string;
  time?: string;
}

/** Runs a function in a test as Larder would. */
export class TestRun {
  /** The run is for this end user. */
  enrolment(endUser: string, topic: string, settings?: object): this;
  env(variables: Record<string, string>): this;
  /** A value that is in state before the run. */
  state(key: string, value: unknown): this;
  signing(upstream: string, hmac: (data: Uint8Array) => Uint8Array): this;
  /** The answer to a request such as `GET http://ledger.upstream/rates`: JSON, or text as it is. Others are refused. */
  answers(request: string, status: number, body?: unknown, headers?: Record<string, string>): this;
  /** There is no answer to this request, as when the service is away. */
  unanswered(request: string): this;
  /** One request: `serve(fn, "GET /path?query", { headers, body })`. The answer is in `response`. */
  serve(definition: LarderFunction, request: string, init?: { headers?: Record<string, string>; body?: unknown }): Ended;
  /** One run. State that it wrote is there in the next one, unless the run failed. */
  handle(definition: LarderFunction, event: TestEvent): Ended;
}
