// One end of a call in a headless browser (side.mjs), whose other end is in another browser, behind another NAT.
// Whoever started both carries their signalling. One JSON object a line, in both directions:
//
//     in   {browser, program, profile}                      first: which one to start (launch.mjs)
//     in   {offering, iceServers, messages, frames}         then: what the call is to be
//     out  {ready: true}                                    the camera is on; the clock starts with the first signal
//     in   {signal} and out {signal}                        descriptions and candidates; the offering end begins with
//                                                           {signal: {start: true}}
//     out  {settled: true}                                  the chosen pair has not changed for a while
//     in   {exchange: true}                                 now the messages
//     out  {result}                                         what side.mjs measured
//
// The end of the input hangs up.
import { createInterface } from "node:readline";
import { start } from "./launch.mjs";
import { side } from "./side.mjs";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async () => {
  const { value, done } = await lines.next();
  return done ? null : JSON.parse(value);
};
const say = (what) => console.log(JSON.stringify(what));

const browser = await start(await hear());
try {
  const page = await browser.page();
  await page.exposeFunction("signal", (signal) => say({ signal }));
  await page.evaluate(side, await hear());
  page.evaluate(() => window.settled).then(() => say({ settled: true }), () => {});
  page.evaluate(() => window.finished).then((result) => say({ result }), (error) => say({ result: { error: String(error) } }));
  say({ ready: true });
  for (let line = await hear(); line !== null; line = await hear()) {
    if (line.exchange) await page.evaluate(() => window.exchange());
    else await page.evaluate((signal) => window.take(signal), line.signal);
  }
  // Closing the page alone would leave the allocations to their lifetime.
  await page.evaluate(() => window.hangUp());
} finally {
  await browser.close();
}
