// Loaded before a function that StarlingMonkey runs: it may wait.
import { allowWaiting } from "./host.js";

allowWaiting();
