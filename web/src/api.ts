// The server's answers, as docs of /api/openapi.json describe them.

export interface Info {
  version: string;
  writable: boolean;
  library: null | {
    name: string;
    count: number;
    columns: Record<string, string>;
    metrics: string[];
    reranks: string[];
  };
  model: {
    model: string;
    n_components: number;
    sample_shape: number[];
    color: string | null;
    fingerprint: string;
    shows_pictures: boolean;
    can_decode: boolean;
    can_sample: boolean;
    can_denoise: boolean;
  };
  training: boolean;
}

export interface Item { id: number; path: string; metadata: Record<string, unknown>; thumbnail: string | null }
export interface Items { total: number; items: Item[] }
export interface WholeItem extends Item { code: number[]; error: number | null }
export interface Match extends Item { distance: number; picture: string | null; reconstruction: string | null }
export interface Matched {
  query: { id: number | null; error: number | null; picture: string | null; reconstruction: string | null };
  matches: Match[];
  seconds: number;
}
export interface Denoised {
  picture: string;
  damaged: string;
  restored: string;
  error_damaged: number;
  error_restored: number;
  given_size: number[] | null;
  size: number[] | null;
}
export interface Unit { index: number; mean: number; std: number; min: number; max: number; share: number }
export interface Latent { units: Unit[]; mean_code: number[] }
export interface Legend {
  count: number;
  state: "preview" | "final";
  kind: "categories" | "range" | "none";
  labels: string[] | null;
  min: number | null;
  max: number | null;
}
export interface Run {
  name: string;
  columns: string[];
  rows: (number | null)[][];
  live: boolean;
  ended: string | null;
}

type Query = Record<string, string | number | null | undefined>;

async function reason(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return (JSON.parse(text) as { error: string }).error;
  } catch {
    return `The server answered ${answer.status} ${answer.statusText}`;
  }
}

export async function call(path: string, query: Query = {}, init: RequestInit = {}): Promise<Response> {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  let answer: Response;
  try {
    answer = await fetch(search ? `${path}?${search}` : path, init);
  } catch (error) {
    if (error instanceof DOMException) throw error;
    throw new Error("The server does not answer: see whether `narrows serve` is still running.");
  }
  if (!answer.ok) throw new Error(await reason(answer));
  return answer;
}

export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await call(path, query, signal ? { signal } : {})).json() as Promise<T>;
}

export async function post<T>(path: string, value: unknown): Promise<T> {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
  return (await call(path, {}, init)).json() as Promise<T>;
}
