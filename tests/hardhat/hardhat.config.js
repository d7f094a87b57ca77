// SPDX-License-Identifier: Apache-2.0
// A local chain as the tests start Anvil: one account, each transaction mined at once, blocks of the same second.
const node = {
  type: "edr-simulated",
  chainType: "l1",
  chainId: 31337,
  accounts: { count: 1 },
  allowBlocksWithSameTimestamp: true,
  throwOnTransactionFailures: false,
};

// `mixed` makes a block a second as well, as the local federation starts Anvil.
export default {
  networks: { node, mixed: { ...node, mining: { auto: true, interval: 1000 } } },
};
