// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// The timelock is OpenZeppelin's, unchanged. This import puts it among the contracts that are built and packaged.
import { TimelockController } from "@openzeppelin/contracts/governance/TimelockController.sol";
