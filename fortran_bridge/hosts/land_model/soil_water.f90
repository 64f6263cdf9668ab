! SPDX-License-Identifier: Apache-2.0
!> Water of the soil in two layers: a thin one that dries at the surface, and the root zone below it.
!!
!! One loam everywhere: the driving data has no soil map, and the example does not pretend to have one.
module soil_water
   use constants, only: timestep, wp
   implicit none
   private
   public :: available_to_roots, available_to_surface, root_stress, wetness_top, wet_soil, &
      field_capacity_top, field_capacity_root

   real(wp), parameter :: water_density = 1000.0_wp
      !! [kg m-3]
   real(wp), parameter :: depth_top = 0.15_wp
      !! [m]
   real(wp), parameter :: depth_root = 1.35_wp
      !! [m]
   real(wp), parameter :: porosity = 0.451_wp
      !! Loam (Clapp and Hornberger 1978, doi 10.1029/WR014i004p00601) [1].
   real(wp), parameter :: saturated_conductivity = 6.95e-3_wp
      !! Loam, same source [kg m-2 s-1].
   real(wp), parameter :: exponent_b = 5.39_wp
      !! Loam, same source [1].
   real(wp), parameter :: conductivity_exponent = 2.0_wp*exponent_b + 3.0_wp
   real(wp), parameter :: field_capacity = 0.30_wp
      !! Water content below which drainage is slow [1].
   real(wp), parameter :: field_capacity_top = field_capacity*depth_top*water_density
      !! [kg m-2]
   real(wp), parameter :: field_capacity_root = field_capacity*depth_root*water_density
      !! [kg m-2]
   real(wp), parameter :: unstressed = 0.26_wp
      !! Water content above which plants transpire freely [1].
   real(wp), parameter :: wilting_point = 0.12_wp
      !! Water content at which plants stop [1].
   real(wp), parameter :: residual = 0.04_wp
      !! Water content that evaporation cannot reach below [1].
   real(wp), parameter :: capacity_top = porosity*depth_top*water_density
      !! [kg m-2]
   real(wp), parameter :: capacity_root = porosity*depth_root*water_density
      !! [kg m-2]
   real(wp), parameter :: roots_in_top = 0.3_wp
      !! Part of the roots in the upper layer [1].
   real(wp), parameter :: shape_b = 0.2_wp
      !! How unevenly a grid cell fills (Duemenil and Todini 1992) [1].

contains

   elemental real(wp) function wetness_top(top)
      !! Saturation of the upper layer [1].
      real(wp), intent(in) :: top
         !! [kg m-2]

      wetness_top = top/capacity_top
   end function wetness_top

   elemental real(wp) function available_to_surface(top)
      !! Water that can evaporate from the bare soil [kg m-2].
      real(wp), intent(in) :: top

      available_to_surface = max(0.0_wp, top - residual*depth_top*water_density)
   end function available_to_surface

   elemental subroutine available_to_roots(top, root, from_top, from_root)
      !! Water above the wilting point in each layer [kg m-2].
      real(wp), intent(in) :: top
      real(wp), intent(in) :: root
      real(wp), intent(out) :: from_top
      real(wp), intent(out) :: from_root

      from_top = max(0.0_wp, top - wilting_point*depth_top*water_density)
      from_root = max(0.0_wp, root - wilting_point*depth_root*water_density)
   end subroutine available_to_roots

   elemental subroutine root_stress(top, root, stress, share_top)
      !! Soil moisture factor of the canopy conductance, and the part of the uptake from the upper layer.
      !!
      !! Linear between wilting point and unstressed water content, weighted by roots
      !! (Feddes et al. 1978; Noilhan and Planton 1989).
      real(wp), intent(in) :: top
      real(wp), intent(in) :: root
         !! Stores [kg m-2].
      real(wp), intent(out) :: stress
         !! 0: wilted, 1: no stress.
      real(wp), intent(out) :: share_top
      real(wp) :: upper, lower

      upper = roots_in_top*factor(top/(depth_top*water_density))
      lower = (1.0_wp - roots_in_top)*factor(root/(depth_root*water_density))
      stress = upper + lower
      share_top = 0.0_wp
      if (stress > 0.0_wp) share_top = upper/stress

   contains

      pure real(wp) function factor(content)
         real(wp), intent(in) :: content

         factor = max(0.0_wp, min(1.0_wp, (content - wilting_point)/(unstressed - wilting_point)))
      end function factor
   end subroutine root_stress

   elemental subroutine wet_soil(input, top, root, runoff)
      !! Let water in, move it down, and let it out at the bottom.
      real(wp), intent(in) :: input
         !! Throughfall, melt and dew of the step [kg m-2].
      real(wp), intent(inout) :: top
      real(wp), intent(inout) :: root
         !! Stores [kg m-2].
      real(wp), intent(out) :: runoff
         !! Surface runoff and drainage of the step [kg m-2].
      real(wp) :: surface, downward, drainage

      surface = saturation_excess(input, top)
      top = top + (input - surface)
      downward = min(drained(top, capacity_top), max(0.0_wp, capacity_root - root))
      top = top - downward
      root = root + downward
      drainage = drained(root, capacity_root)
      root = root - drainage
      runoff = surface + drainage
   end subroutine wet_soil

   elemental real(wp) function saturation_excess(input, top) result(surface)
      !! Runoff from the saturated part of the cell (Zhao et al. 1980; Duemenil and Todini 1992, equations 10-12).
      real(wp), intent(in) :: input
      real(wp), intent(in) :: top
      real(wp) :: room, largest, level

      room = max(0.0_wp, capacity_top - top)
      largest = (1.0_wp + shape_b)*capacity_top
      level = largest*(1.0_wp - (room/capacity_top)**(1.0_wp/(1.0_wp + shape_b))) + input
      if (level >= largest) then
         surface = max(0.0_wp, input - room)
      else
         surface = input - room + capacity_top*(1.0_wp - level/largest)**(1.0_wp + shape_b)
         surface = max(0.0_wp, min(surface, input))
      end if
   end function saturation_excess

   elemental real(wp) function drained(store, capacity)
      !! Water that gravity takes out of a layer in one step [kg m-2].
      !!
      !! Conductivity of Clapp and Hornberger (1978), dW/dt = -K_s (W/W_s)^(2b+3), solved exactly over the step:
      !! it can neither overshoot nor go below zero.
      real(wp), intent(in) :: store
      real(wp), intent(in) :: capacity
      real(wp), parameter :: n = conductivity_exponent
      real(wp), parameter :: slow = 0.1_wp
         !! Saturation below which hardly anything flows.
      real(wp) :: saturation

      drained = 0.0_wp
      if (store < slow*capacity) return
      saturation = store/capacity
      drained = store - capacity*(saturation**(1.0_wp - n) + (n - 1.0_wp)*saturated_conductivity*timestep/capacity) &
         **(1.0_wp/(1.0_wp - n))
      drained = max(0.0_wp, min(drained, store))
   end function drained
end module soil_water
